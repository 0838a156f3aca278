#!/usr/bin/env node
// Puts each bug of test/mutants/mutants.mjs into a copy of the AI contract and runs the one test that must tell of it.
// Fails if a test does not, if a test fails without the bug, or if a bug no longer fits the source.
//
//     npm run mutants [-- WORD …]     only bugs whose description has one of the words
//     npm run mutants:some            only those marked `some`, as CI does
//
// The tests are built as ever, and run in a copy of the project. They reach the contract by its artefact, so that for
// each bug only the contract is compiled, here and without the optimizer, and its artefact replaced.
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import solc from "solc";
import mutants from "../test/mutants/mutants.mjs";

const root = new URL("../", import.meta.url).pathname;
const forge = join(root, "node_modules/.bin/forge");
const COPIED = ["src", "sdk", "test", "script", "snapshots", "out", "cache", "foundry.toml"];
const started = Date.now();
const seconds = () => ((Date.now() - started) / 1000).toFixed(0);

/** The sources of the AI contract with the mutant's edits made, by path. */
function spoil({ bug, file, edits }) {
  const path = `src/${file}`;
  let text = readFileSync(join(root, path), "utf8");
  for (const [was, is] of edits) {
    const times = text.split(was).length - 1;
    if (times !== 1) throw new Error(`"${bug}": ${path} has ${times} times, not once: ${was}`);
    text = text.replace(was, () => is);
  }
  return { [path]: text };
}

/** Creation code of the AI contract, with some sources in place of those on disk. */
function compile(spoilt) {
  const read = (path) => spoilt[path] ?? readFileSync(join(root, path), "utf8");
  const input = {
    language: "Solidity",
    sources: { "src/DtnAi.sol": { content: read("src/DtnAi.sol") } },
    settings: {
      evmVersion: "cancun",
      remappings: ["@deeptrust/contracts/=sdk/", "@openzeppelin/contracts/=node_modules/@openzeppelin/contracts/"],
      outputSelection: { "src/DtnAi.sol": { DtnAi: ["evm.bytecode.object"] } },
    },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: (path) => ({ contents: read(path) }) }));
  const wrong = (output.errors ?? []).filter(({ severity }) => severity === "error");
  if (wrong.length) throw new Error(wrong[0].formattedMessage);
  return `0x${output.contracts["src/DtnAi.sol"].DtnAi.evm.bytecode.object}`;
}

/** A copy of the project with everything built in it. */
function copy() {
  const { status } = spawnSync(forge, ["build"], { cwd: root, stdio: ["ignore", "inherit", "inherit"] });
  if (status !== 0) throw new Error("forge could not build");
  const folder = mkdtempSync(join(tmpdir(), "mutants-"));
  // A link would lead forge out of the folder, to files that it has not built.
  const libraries = readdirSync(join(root, "node_modules")).filter((name) => name.includes("openzeppelin"));
  for (const name of [...COPIED, ...libraries.map((name) => `node_modules/${name}`)])
    cpSync(join(root, name), join(folder, name), { recursive: true, verbatimSymlinks: true });
  symlinkSync(join(root, "tools"), join(folder, "tools"));
  return folder;
}

/** Runs tests by name; of each, why it failed, or null if it passed. */
function run(folder, killers) {
  const [contracts, tests] = [0, 1].map((part) => [...new Set(killers.map((killer) => killer.split(".")[part]))]);
  const match = ["--match-contract", `^(${contracts.join("|")})$`, "--match-test", `^(${tests.join("|")})\\(?`];
  const { stdout, stderr } = spawnSync(forge, ["test", "--json", "--fuzz-seed", "1", "--code-size-limit", "1000000", ...match], {
    cwd: folder,
    encoding: "utf8",
    maxBuffer: 1 << 28,
  });
  const line = stdout.split("\n").find((text) => text.startsWith("{") && text.includes("test_results"));
  if (!line) throw new Error(`forge said no results:\n${stdout.slice(-2000)}${stderr.slice(-2000)}`);
  const results = {};
  for (const [suite, { test_results }] of Object.entries(JSON.parse(line)))
    for (const [signature, { status, reason }] of Object.entries(test_results))
      results[`${suite.split(":")[1]}.${signature.split("(")[0]}`] = status === "Success" ? null : (reason ?? "failed");
  return results;
}

const words = process.argv.slice(2);
const wanted = ({ bug, some }) => (process.env.MUTANTS === "some" ? some : !words.length || words.some((word) => bug.includes(word)));
const chosen = mutants.filter(wanted);
const folder = copy();
try {
  const spoilt = chosen.map(spoil); // all of them first: what no longer fits is told at once
  const artefact = join(folder, "out/DtnAi.sol/DtnAi.json");
  const made = JSON.parse(readFileSync(artefact, "utf8"));
  const put = (spoilt) => {
    made.bytecode.object = compile(spoilt);
    writeFileSync(artefact, JSON.stringify(made));
  };
  put({});
  const sound = run(folder, chosen.map(({ killer }) => killer));
  const unfit = chosen.filter(({ killer }) => sound[killer] !== null);
  for (const { killer } of unfit) console.error(`without any bug: ${killer}: ${sound[killer] ?? "no such test"}`);
  console.log(`${new Set(chosen.map(({ killer }) => killer)).size} tests run without a bug (${seconds()} s)`);
  let alive = unfit.length;
  for (const [i, { bug, killer }] of chosen.entries()) {
    put(spoilt[i]);
    const reason = run(folder, [killer])[killer];
    if (!reason) alive++;
    console.log(`${reason ? "killed" : "ALIVE "}  ${bug}\n        ${killer}: ${reason ?? "passes"}`);
  }
  console.log(`${chosen.length} bugs, ${alive} alive or untested (${seconds()} s)`);
  process.exitCode = alive ? 1 : 0;
} finally {
  rmSync(folder, { recursive: true });
}
