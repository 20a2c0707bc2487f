// The reference implementation judges what Carrack exports: signature, tree and every record of repositories, and proofs.
//   node check.mjs BINARY PDS_MADE GENERATED WORK
// PDS_MADE holds NAME.car, NAME.json, NAME.records.tsv; GENERATED holds NAME.pds.car, NAME.did.json, NAME.records.tsv.
// WORK takes what is written. Prints counts; exits with a failure at the first difference.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import atproto from '@atproto/repo'

const { MemoryBlockstore, Repo, readCarWithRoot, verifyProofs, verifyRecords, verifyRepoCar } = atproto

const [binary, pdsMade, generated, work] = process.argv.slice(2)

/** Paths of proofs a repository is asked for, at most. */
const PROOFS_MAX = 8

/** Returns the repositories of a folder whose files end so, each as a case to check. */
function cases(folder, suffix, sidecar) {
  return readdirSync(folder)
    .filter((file) => file.endsWith('.records.tsv'))
    .sort()
    .map((file) => {
      const name = file.slice(0, -'.records.tsv'.length)
      const lines = readFileSync(join(folder, file), 'utf8').split('\n').filter((line) => line !== '')
      return { name, car: join(folder, name + suffix), records: new Map(lines.map((line) => line.split('\t'))), ...sidecar(join(folder, name)) }
    })
}

function ofPds(prefix) {
  const { did, didDoc, signingKey, commit, rev, bytes } = JSON.parse(readFileSync(`${prefix}.json`, 'utf8'))
  return { did, didDoc, signingKey, commit, rev, bytes }
}

function ofKit(prefix) {
  const didDoc = JSON.parse(readFileSync(`${prefix}.did.json`, 'utf8'))
  const method = didDoc.verificationMethod.find(({ id }) => id.endsWith('#atproto'))
  return { did: didDoc.id, didDoc, signingKey: `did:key:${method.publicKeyMultibase}` }
}

function claim(path, cid) {
  const [collection, rkey] = path.split('/')
  return { collection, rkey, cid }
}

/** Returns a few paths, the first and the last among them. */
function some(paths) {
  const step = Math.max(1, Math.ceil((paths.length - 1) / (PROOFS_MAX - 1)))
  return paths.filter((_, index) => index % step === 0 || index === paths.length - 1)
}

async function check({ name, car, did, didDoc, signingKey, commit, rev, bytes, records }) {
  const data = join(work, `${name}.data`)
  const document = join(work, `${name}.did.json`)
  const exported = join(work, `${name}.car`)
  writeFileSync(document, JSON.stringify(didDoc))
  const carrack = (...args) => execFileSync(binary, ['--data', data, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
  const report = JSON.parse(carrack('--json', 'import', '--did-doc', document, car).trim())
  assert.equal(report.verdict, 'valid', name)
  carrack('export', did, '-o', exported)

  // Reading the CAR hashes every block; this checks the DID, the signature, and that no block is missing.
  const file = readFileSync(exported)
  if (bytes !== undefined) assert.equal(file.length, bytes, `${name}: as many bytes as the PDS exported`)
  const repo = await verifyRepoCar(file, did, signingKey)
  const found = new Map(repo.creates.map(({ collection, rkey, cid }) => [`${collection}/${rkey}`, cid]))
  assert.deepEqual(new Map([...found].map(([path, cid]) => [path, cid.toString()])), records, name)
  if (commit !== undefined) assert.deepEqual([repo.commit.cid.toString(), repo.commit.rev], [commit, rev], name)

  // Exactly the reachable blocks, each once.
  const { root, blocks } = await readCarWithRoot(file)
  const readable = await Repo.load(new MemoryBlockstore(blocks), root)
  const reachable = new Set([root.toString(), ...(await readable.data.allCids()).toList().map(String)])
  let walked = 0
  for await (const { collection, rkey, cid } of readable.walkRecords()) {
    assert.equal(records.get(`${collection}/${rkey}`), cid.toString(), name)
    walked += 1
  }
  assert.equal(walked, records.size, name)
  assert.deepEqual(new Set(blocks.cids().map(String)), reachable, `${name}: blocks`)

  // One bit of the file is another file.
  const flipped = Buffer.from(file)
  flipped[flipped.length - 1] ^= 1
  await assert.rejects(verifyRepoCar(flipped, did, signingKey), name)

  let proofs = 0
  const prove = async (path, cid) => {
    const proof = join(work, `${name}.proof.car`)
    carrack('prove', `at://${did}/${path}`, '-o', proof)
    const slice = readFileSync(proof)
    const asked = claim(path, cid)
    const { verified, unverified } = await verifyProofs(slice, [asked], did, signingKey)
    assert.deepEqual([verified, unverified], [[asked], []], `${name}: ${path}`)
    const there = await verifyRecords(slice, did, signingKey)
    assert.equal(there.some(({ collection, rkey }) => `${collection}/${rkey}` === path), cid !== null, `${name}: ${path}`)
    const opposite = claim(path, cid === null ? root : null)
    assert.deepEqual((await verifyProofs(slice, [opposite], did, signingKey)).verified, [], `${name}: ${path}`)
    proofs += 1
  }
  for (const path of some([...records.keys()])) {
    await prove(path, found.get(path))
    await prove(`${path}~`, null)
  }
  await prove('com.example.nothing/self', null)
  console.log(`${name}: ${records.size} records in ${blocks.size} blocks, ${signingKey.startsWith('did:key:zQ3') ? 'K-256' : 'P-256'} signature valid, ${proofs} proofs verified`)
  return { records: records.size, proofs }
}

mkdirSync(work, { recursive: true })
const all = [...cases(pdsMade, '.car', ofPds), ...cases(generated, '.pds.car', ofKit)]
let [repos, records, proofs] = [0, 0, 0]
for (const one of all) {
  const counts = await check(one)
  repos += 1
  records += counts.records
  proofs += counts.proofs
}
assert.ok(repos >= 9, 'the fixtures and the generated repositories were found')
console.log(`reference implementation: ${repos} repos, ${records} records, ${proofs} proofs agree`)
