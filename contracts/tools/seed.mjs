#!/usr/bin/env node
// Takes the Solidity out of the seed documents (test/seed/seed-*.txt, byte for byte as they came) into
// test/seed/generated/, where the tests find it. The contract is not changed by a character. Around snippets stands what
// they leave out, such as imports and variables; two of them read msg.value and cannot compile without being payable.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";

const folder = new URL("../test/seed/", import.meta.url);
const write = (name, text) => writeFileSync(new URL(`generated/${name}`, folder), text);

/** The Solidity blocks of a document that is still, byte for byte, the one with this SHA-256. */
function blocks(name, digest) {
  const document = readFileSync(new URL(name, folder));
  if (createHash("sha256").update(document).digest("hex") !== digest) throw new Error(`${name} is not the seed any more`);
  return [...document.toString().matchAll(/```solidity\n([\s\S]*?)```/g)].map((match) => match[1]);
}
mkdirSync(new URL("generated/", folder), { recursive: true });

// Seed 000: the contract is its first block, complete.
const [contract] = blocks("seed-000.txt", "304394fba3ec62b5f8e7db86c43d566b94a7fb3e433646266ff1bbd7f59c8b61");
write("AdvancedSessionManager.sol", contract);

// Seed 002: functions without a contract, a contract without imports, and one bare statement.
const [start, ask, askWithoutSession, close, efficient, askIfNeeded, startSafely] = blocks(
  "seed-002.txt",
  "55daa9bda44a151ed085842b3769d286850f99e084e629599c439902189ee60e",
);
const payable = (snippet) => snippet.replace(/^(function \w+\(.*\) public) \{/, "$1 payable {");
write(
  "AiSessions.sol",
  `// SPDX-License-Identifier: MIT
pragma solidity ^0.8.13;

import "@deeptrust/contracts/with-dtn-ai.sol";
import "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

using SafeERC20 for IERC20;

${efficient}
contract AiSessions is EfficientAIContract {
    bytes32 public requestId;
    bytes32 public modelId;
    bytes32[] internal routing;
    IDtnAi.DtnRequest internal request;
    IDtnAi.CallBack internal callback;

    constructor(address ai, bytes32 model, bytes32[] memory trusted, IDtnAi.DtnRequest memory asked) {
        setAi(ai);
        (modelId, routing, request) = (model, trusted, asked);
    }

${start}
${payable(ask)}
function makeAIRequestWithoutSession() public payable {
${askWithoutSession}}

${close}
${startSafely}}

contract AiSessionsOnDemand is EfficientAIContract {
    bytes32 public requestId;
    bytes32 public modelId;
    bytes32[] internal routing;
    IDtnAi.DtnRequest internal request;
    IDtnAi.CallBack internal callback;

    constructor(address ai, bytes32 model, bytes32[] memory trusted, IDtnAi.DtnRequest memory asked) {
        setAi(ai);
        (modelId, routing, request) = (model, trusted, asked);
    }

${payable(askIfNeeded)}}
`,
);
