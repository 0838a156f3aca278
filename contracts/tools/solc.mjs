#!/usr/bin/env node
// What forge asks of a compiler, answered by the WASM build that npm locks: no native binary is downloaded.
import { readFileSync } from "node:fs";
import solc from "solc";

const version = () => `solc, the solidity compiler\nVersion: ${solc.version()}\n`;
process.stdout.write(process.argv.includes("--version") ? version() : solc.compile(readFileSync(0, "utf8")));
