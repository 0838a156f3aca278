// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

// The proofs deploy the AI contract by its artefact, as it is deployed in earnest; this has the artefact made.
import {DtnAi} from "../../src/DtnAi.sol";
