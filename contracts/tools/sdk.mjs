#!/usr/bin/env node
// Checks that what users import compiles as they compile it: with the oldest compiler the SDK allows, with OpenZeppelin
// 4.9 and 5, with and without the optimizer, without a warning; and that the mock, optimized, fits into a contract.
import { readFileSync, readdirSync } from "node:fs";
import solc from "solc-oldest";

const root = new URL("..", import.meta.url);
const CONTRACT_BYTES_MAX = 24_576;
const files = readdirSync(new URL("sdk", root)).filter((name) => name.endsWith(".sol"));
const providers = (openZeppelin) => ({
  "@deeptrust/contracts/": "sdk/",
  "@openzeppelin/contracts/": `node_modules/${openZeppelin}/`,
  "@openzeppelin/contracts-upgradeable/": `node_modules/${openZeppelin}-upgradeable/`,
});

function find(path, openZeppelin) {
  const [prefix, folder] = Object.entries(providers(openZeppelin)).find(([from]) => path.startsWith(from)) ?? [];
  if (!prefix) return { error: `nothing provides ${path}` };
  return { contents: readFileSync(new URL(folder + path.slice(prefix.length), root), "utf8") };
}

function compile(openZeppelin, optimize) {
  const sources = Object.fromEntries(
    files.map((name) => [`users/${name}`, { content: `pragma solidity ^0.8.0;\nimport "@deeptrust/contracts/${name}";` }]),
  );
  const settings = { optimizer: { enabled: optimize }, outputSelection: { "*": { "*": ["evm.deployedBytecode.object"] } } };
  const input = JSON.stringify({ language: "Solidity", sources, settings });
  return JSON.parse(solc.compile(input, { import: (path) => find(path, openZeppelin) }));
}

// A user's file need not have a licence, and the mock need not fit where nobody optimizes.
const harmless = (error) => ["1878", "5574"].includes(error.errorCode);
let wrong = 0;
for (const openZeppelin of ["openzeppelin-4", "@openzeppelin/contracts"]) {
  for (const optimize of [true, false]) {
    const { contracts, errors = [] } = compile(openZeppelin, optimize);
    for (const error of errors.filter((error) => !harmless(error))) console.error(error.formattedMessage, ++wrong && "");
    const mock = contracts?.["@deeptrust/contracts/mock-dtn-ai.sol"]?.MockDtnAi;
    const bytes = mock ? mock.evm.deployedBytecode.object.length / 2 : Infinity;
    if (optimize && bytes > CONTRACT_BYTES_MAX) console.error(`the mock has ${bytes} bytes`, ++wrong && "");
  }
}
process.exit(wrong ? 1 : 0);
