// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAiEvents} from "@deeptrust/contracts/idtn-ai-events.sol";
import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";

import {IDtnNodes} from "./IDtnNodes.sol";

/// @title IDtn
/// @notice The whole AI contract, for those who need both sides of it: tests and tools.
interface IDtn is IDtnAi, IDtnNodes, IDtnAiEvents {}
