// Fetches files by content id from one gateway, with Helia, which verifies every block. Reads from standard input
// {"gateway": URL, "fetch": [CID, ...], "archives": [CID, ...], "add": [SIZE, ...]}; says what it found as JSON.

import { createHash } from 'node:crypto'
import { text } from 'node:stream/consumers'
import { trustlessGateway } from '@helia/block-brokers'
import { createHeliaHTTP } from '@helia/http'
import { httpGatewayRouting } from '@helia/routers'
import { unixfs } from '@helia/unixfs'
import { CarReader } from '@ipld/car'
import { CID } from 'multiformats/cid'
import { sha256 } from 'multiformats/hashes/sha2'

const SECONDS_MAX = 20

const asked = JSON.parse(await text(process.stdin))
const helia = await createHeliaHTTP({
  blockBrokers: [trustlessGateway({ allowInsecure: true, allowLocal: true })],
  routers: [httpGatewayRouting({ gateways: [asked.gateway] })]
})
const files = unixfs(helia)

async function fetched(cid) {
  const hash = createHash('sha256')
  let size = 0
  try {
    for await (const piece of files.cat(CID.parse(cid), { signal: AbortSignal.timeout(SECONDS_MAX * 1000) })) {
      hash.update(piece)
      size += piece.length
    }
  } catch (error) {
    return { error: [error, ...(error.errors ?? [])].map(each => `${each.name}: ${each.message}`).join('; ') }
  }
  return { size, sha256: hash.digest('hex') }
}

// The blocks of a CAR, each with whether it is what its id says.
async function archived(cid) {
  const reply = await fetch(`${asked.gateway}/ipfs/${cid}?format=car`)
  const archive = await CarReader.fromBytes(new Uint8Array(await reply.arrayBuffer()))
  const blocks = []
  for await (const { cid, bytes } of archive.blocks()) {
    const digest = await sha256.digest(bytes)
    blocks.push([cid.toString(), Buffer.compare(digest.bytes, cid.multihash.bytes) === 0])
  }
  return { roots: (await archive.getRoots()).map(String), blocks }
}

const said = { fetch: [], archives: [], add: [] }
for (const cid of asked.fetch ?? []) said.fetch.push(await fetched(cid))
for (const cid of asked.archives ?? []) said.archives.push(await archived(cid))
for (const size of asked.add ?? []) said.add.push(String(await files.addBytes(new Uint8Array(size).fill(size % 251))))
console.log(JSON.stringify(said))
await helia.stop()
