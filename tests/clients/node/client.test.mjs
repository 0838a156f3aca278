// OpenAI's official client for Node.js, unmodified, against a running gateway (spec D2).
// OPENAI_BASE_URL and OPENAI_API_KEY say where; EMPTY_KEY is a key of a session that can pay for nothing.

import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const client = new OpenAI();
const messages = [{ role: "user", content: "Hello there" }];
const Person = z.object({ age: z.number() });

for (const model of ["offline", "fast"]) {
  test(`chat completions of ${model}`, async () => {
    const { data, response } = await client.chat.completions.create({ model, messages }).withResponse();
    assert.ok(data.choices[0].message.content);
    const { prompt_tokens, completion_tokens } = data.usage;
    assert.equal(Number(response.headers.get("x-prepaid-cost")), prompt_tokens + 2 * completion_tokens);
  });

  test(`a stream of ${model}`, async () => {
    const stream = await client.chat.completions.create({
      model,
      messages,
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = "";
    let usage;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta?.content ?? "";
      usage = chunk.usage ?? usage;
    }
    assert.ok(text);
    assert.ok(usage.completion_tokens > 0);
  });

  test(`the stream helper with ${model}`, async () => {
    const stream = client.chat.completions.stream({ model, messages });
    let said = "";
    stream.on("content", (delta) => (said += delta));
    assert.equal((await stream.finalChatCompletion()).choices[0].message.content, said);
  });

  test(`responses of ${model}`, async () => {
    const answer = await client.responses.create({ model, input: "Hello there", instructions: "Be kind." });
    assert.ok(answer.output_text);
    const stream = client.responses.stream({ model, input: "Hello there" });
    let said = "";
    stream.on("response.output_text.delta", (event) => (said += event.delta));
    assert.equal((await stream.finalResponse()).output_text, said);
  });
}

test("tools, called and answered", async () => {
  const asked = [];
  const runner = client.chat.completions.runTools({
    model: "offline",
    messages: [{ role: "user", content: "use add with 2 and 3" }],
    tools: [
      {
        type: "function",
        function: {
          name: "add",
          description: "Adds.",
          parameters: { type: "object", properties: { a: { type: "integer" }, b: { type: "integer" } } },
          parse: JSON.parse,
          function: (given) => {
            asked.push(given);
            return String(given.a + given.b);
          },
        },
      },
    ],
  });
  assert.match(await runner.finalContent(), /5/);
  assert.deepEqual(asked, [{ a: 2, b: 3 }]);
});

test("structured output", async () => {
  const fake = { text: '{"age": 41}' };
  const chat = await client.chat.completions.parse({
    model: "fast",
    messages,
    response_format: zodResponseFormat(Person, "person"),
    fake,
  });
  assert.deepEqual(chat.choices[0].message.parsed, { age: 41 });
  const response = await client.responses.parse({
    model: "fast",
    input: "I am 41",
    text: { format: zodTextFormat(Person, "person") },
    fake,
  });
  assert.deepEqual(response.output_parsed, { age: 41 });
});

test("embeddings", async () => {
  const told = await client.embeddings.create({ model: "embed", input: ["Hello there", "you"] });
  assert.equal(told.data.length, 2);
  assert.ok(told.data[0].embedding.length > 0);
});

test("models", async () => {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  assert.ok(names.includes("fast") && names.includes("offline"));
  assert.equal((await client.models.retrieve("fast")).id, "fast");
});

test("each refusal is the client's own class", async () => {
  const ask = (more, options) => client.chat.completions.create({ model: "fast", messages, ...more }, options);
  await assert.rejects(ask({ model: "nobody" }), OpenAI.NotFoundError);
  await assert.rejects(ask({ messages: [] }), OpenAI.BadRequestError);
  await assert.rejects(ask({ fake: { status: 500 } }, { maxRetries: 0 }), OpenAI.InternalServerError);
  await assert.rejects(new OpenAI({ apiKey: "pp_wrong" }).models.list(), OpenAI.AuthenticationError);
});

test("an empty balance is refused once", async () => {
  let requests = 0;
  const counted = (...given) => {
    requests += 1;
    return fetch(...given);
  };
  const poor = new OpenAI({ apiKey: process.env.EMPTY_KEY, fetch: counted });
  await assert.rejects(poor.chat.completions.create({ model: "fast", messages }), (error) => {
    assert.equal(error.status, 402);
    assert.equal(error.code, "insufficient_quota");
    return error instanceof OpenAI.APIError;
  });
  assert.equal(requests, 1);
});

test("a stream that is left is paid for as far as it came", async () => {
  const stream = await client.chat.completions.create({
    model: "fast",
    messages,
    stream: true,
    fake: { hang_after: 3 },
  });
  for await (const chunk of stream) {
    if (chunk.choices[0]?.delta?.content === " from") break;
  }
});
