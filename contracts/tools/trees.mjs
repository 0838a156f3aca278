#!/usr/bin/env node
// Checks that every branch of test/unit/*.tree has its test in the .t.sol beside it, and every test its branch.
// A branch is a line `given …` or `when …` with lines `it should …` right below; its test is named as bulloak names it:
// test_GivenX, test_WhenX, or test_RevertGiven_X, test_RevertWhen_X where it should revert.
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

const folder = new URL("../test/unit", import.meta.url).pathname;
const pascal = (words) => words.map((word) => word[0].toUpperCase() + word.slice(1)).join("");
const read = (line) => ({ depth: line.search(/[^\s│├└─]/), text: line.replace(/^[\s│├└─]+/, "") });

function namesOf(tree) {
  const lines = tree.split("\n").map(read).filter(({ text }) => text);
  return lines.flatMap(({ depth, text }, i) => {
    const next = lines[i + 1];
    if (!/^(given|when) /.test(text) || !next || next.depth <= depth || !next.text.startsWith("it ")) return [];
    const [kind, ...words] = text.replace(/[^\w\s]/g, "").split(/\s+/);
    const reverts = /^it should revert/.test(next.text);
    return [`test_${reverts ? "Revert" : ""}${pascal([kind])}${reverts ? "_" : ""}${pascal(words)}`];
  });
}

let wrong = 0;
const complain = (text) => console.error(text, ++wrong && "");
for (const file of readdirSync(folder).filter((name) => name.endsWith(".tree"))) {
  const names = namesOf(readFileSync(join(folder, file), "utf8"));
  const path = join(folder, file.replace(/\.tree$/, ".t.sol"));
  const source = existsSync(path) ? readFileSync(path, "utf8") : "";
  const tests = [...source.matchAll(/function (test_\w+)\(/g)].map((match) => match[1]);
  for (const name of names) if (!tests.includes(name)) complain(`${file}: no test ${name}`);
  for (const test of tests) if (!names.includes(test)) complain(`${file}: no branch for ${test}`);
  if (new Set(names).size < names.length) complain(`${file}: two branches of one name`);
}
for (const file of readdirSync(folder).filter((name) => name.endsWith(".t.sol")))
  if (!existsSync(join(folder, file.replace(/\.t\.sol$/, ".tree")))) complain(`${file}: no tree`);
process.exit(wrong ? 1 : 0);
