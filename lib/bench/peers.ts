import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { invalidArgument, ResNetError } from '../errors.js'
import { PythonPeer } from './python.js'
import type { Network } from './types.js'

interface Peer {
  language: 'node' | 'python'
  /** What it stands on, the one whose version is told first. */
  packages: readonly string[]
  /** Which file of the network it reads. */
  reads: 'onnx' | 'checkpoint'
}

/** Whom this package can be measured beside; none is a dependency of it. */
export const peerTable = {
  'onnxruntime-node': { language: 'node', packages: ['onnxruntime-node'], reads: 'onnx' },
  'transformers.js': { language: 'node', packages: ['@huggingface/transformers'], reads: 'onnx' },
  torch: { language: 'python', packages: ['torch', 'torchvision', 'safetensors'], reads: 'checkpoint' },
  'torch-compile': {
    language: 'python',
    packages: ['torch', 'torchvision', 'safetensors'],
    reads: 'checkpoint',
  },
  openvino: { language: 'python', packages: ['openvino', 'numpy'], reads: 'onnx' },
} as const satisfies Record<string, Peer>
export type PeerName = keyof typeof peerTable
export const peerNames = Object.keys(peerTable) as PeerName[]

/** Where peers are looked for. */
export interface PeerPlaces {
  /** Folder from whose node_modules those of Node.js are loaded. */
  folder: string
  /** Interpreter that has those of Python; absent: none is looked for. */
  python?: string
}

/** Whether a driver's name is that of a peer in Python. */
export function isPython(driver: string): boolean {
  return (peerTable as Record<string, Peer>)[driver]?.language === 'python'
}

/** Version of every peer that is installed, and of the others what would install them. */
export async function findPeers(
  places: PeerPlaces,
): Promise<Record<PeerName, { version: string } | { missing: string }>> {
  const found = await versionsOf(places)
  return Object.fromEntries(
    peerNames.map((name) => {
      const { packages, language }: Peer = peerTable[name]
      const missing = packages.filter((wanted) => found.get(wanted) === undefined)
      if (missing.length === 0) return [name, { version: found.get(packages[0] as string) }]
      if (language === 'node') return [name, { missing: `npm install ${missing.join(' ')}` }]
      const interpreter = places.python ?? 'python3'
      const where = places.python === undefined ? ', and name the interpreter: --python python3' : ''
      return [name, { missing: `${interpreter} -m pip install ${missing.join(' ')}${where}` }]
    }),
  ) as Record<PeerName, { version: string } | { missing: string }>
}

async function versionsOf({ folder, python }: PeerPlaces): Promise<Map<string, string>> {
  const of = (language: Peer['language']) =>
    peerNames
      .map((name): Peer => peerTable[name])
      .filter((peer) => peer.language === language)
      .flatMap(({ packages }) => packages)
  const found = new Map<string, string>()
  const from = createRequire(path.join(folder, 'package.json'))
  for (const name of of('node')) {
    const version = nodePackage(from, name)?.version
    if (version !== undefined) found.set(name, version)
  }
  if (python === undefined) return found
  const peer = PythonPeer.start(python)
  try {
    const { versions } = await peer.versions(of('python'))
    for (const [name, version] of Object.entries(versions)) {
      if (version !== null) found.set(name, version)
    }
  } finally {
    await peer.close()
  }
  return found
}

/** The manifest of an installed package, which need not be among its exports. */
export function nodePackage(from: NodeRequire, name: string): { version: string } | undefined {
  const file = (from.resolve.paths(name) ?? [])
    .map((modules) => path.join(modules, name, 'package.json'))
    .find((manifest) => existsSync(manifest))
  return file === undefined ? undefined : from(file)
}

/**
 * Checks that those who are asked for are there, with the files that they read.
 * @returns the other ones: their version, or 'not installed'
 * @throws ERR_RESNET_UNAVAILABLE for one that is not installed, ERR_RESNET_INVALID_ARGUMENT for a network without its file.
 */
export async function requirePeers(
  wanted: readonly PeerName[],
  networks: readonly Network[],
  places: PeerPlaces,
): Promise<Record<string, string>> {
  const found = await findPeers(places)
  for (const name of wanted) {
    const peer = found[name]
    if ('missing' in peer) {
      throw new ResNetError(
        'ERR_RESNET_UNAVAILABLE',
        `bench: the peer '${name}' is not installed; ${peer.missing}`,
      )
    }
    for (const network of networks) {
      const { reads } = peerTable[name]
      const file = network[reads]
      if (file !== undefined && existsSync(file)) continue
      const option = reads === 'onnx' ? '--onnx' : '--model'
      throw invalidArgument(
        `bench: expected ${option} of '${network.name}', which the peer '${name}' reads, received ${file ?? 'none'}`,
      )
    }
  }
  const others = peerNames.filter((name) => !wanted.includes(name))
  return Object.fromEntries(
    others.map((name) => {
      const peer = found[name]
      return [name, 'version' in peer ? peer.version : 'not installed']
    }),
  )
}
