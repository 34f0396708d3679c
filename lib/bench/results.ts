import { readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { ResNetError } from '../errors.js'
import { describe } from '../options.js'
import { type Results, resultFormat, resultVersion, type TrialResult } from './types.js'

/** @throws ERR_RESNET_IO for a file that cannot be read; ERR_RESNET_CORRUPT for one that holds no results. */
export async function readResults(file: string): Promise<Results> {
  const text = await readFile(file, 'utf8').catch((cause) => {
    throw new ResNetError('ERR_RESNET_IO', `bench: cannot read '${file}': ${cause.message}`, { cause })
  })
  let found: Partial<Results>
  try {
    found = JSON.parse(text)
  } catch (cause) {
    throw new ResNetError(
      'ERR_RESNET_CORRUPT',
      `bench: '${file}' is not JSON: ${(cause as Error).message}; expected a file that 'resnet bench --output' wrote`,
      { cause },
    )
  }
  if (found?.format === resultFormat && found.version === resultVersion) {
    if (isObject(found.machine) && Array.isArray(found.trials)) {
      check(file, found as Results)
      return found as Results
    }
    throw new ResNetError(
      'ERR_RESNET_CORRUPT',
      `bench: expected 'machine' and 'trials' in '${file}', received ${Object.keys(found).join(', ')}; run 'resnet bench' again`,
    )
  }
  throw new ResNetError(
    'ERR_RESNET_CORRUPT',
    `bench: expected format '${resultFormat}' version ${resultVersion} in '${file}', received ` +
      `'${found?.format}' version ${found?.version}; run 'resnet bench' again`,
  )
}

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null

/** What tables, charts and comparisons take for granted. @throws ERR_RESNET_CORRUPT */
function check(file: string, { machine, trials }: Results): void {
  const expect = (place: string, expected: string, received: unknown, isFine: boolean) => {
    if (isFine) return
    throw new ResNetError(
      'ERR_RESNET_CORRUPT',
      `bench: expected ${place} of '${file}' to be ${expected}, received ${describe(received)}; run 'resnet bench' again`,
    )
  }
  const { loadBefore } = machine
  expect('machine.loadBefore', 'a number', loadBefore, typeof loadBefore === 'number')
  for (const [i, trial] of trials.entries()) {
    const at = `trials[${i}]`
    expect(at, 'a trial', trial, isObject(trial))
    const { name, network, load, drivers } = trial
    expect(`${at}.name`, 'a string', name, typeof name === 'string')
    expect(`${at}.network`, 'an object', network, isObject(network))
    expect(`${at}.load`, 'an object', load, isObject(load))
    expect(`${at}.drivers`, 'a list', drivers, Array.isArray(drivers))
    for (const [j, result] of drivers.entries()) {
      const place = `${at}.drivers[${j}]`
      expect(place, 'a driver', result, isObject(result) && typeof result.driver === 'string')
      expect(`${place}.rounds`, 'a list', result.rounds, Array.isArray(result.rounds))
      for (const [k, round] of result.rounds.entries()) {
        const isFine = isObject(round) && isObject(round.latencyMs)
        expect(`${place}.rounds[${k}]`, 'a round with latencyMs', round, isFine)
      }
    }
  }
}

/** Whole or not at all, where it is a file and not a pipe. @throws ERR_RESNET_IO */
export function writeWhole(file: string, text: string): Promise<void> {
  return writing(file, async (part) => {
    await writeFile(part, text)
    if (part !== file) await rename(part, file)
  })
}

/** Whether `writeWhole` would write there, asked before anything is measured. @throws ERR_RESNET_IO */
export function checkWritable(file: string): Promise<void> {
  return writing(file, async (part) => {
    if (part === file) return
    await writeFile(part, '')
    await rm(part)
  })
}

/** `write` gets the name to write under first; the file's own where there is no file to take the place of. */
async function writing(file: string, write: (part: string) => Promise<void>): Promise<void> {
  try {
    const there = await stat(file).catch(() => undefined)
    if (there?.isDirectory()) throw new Error('it is a folder')
    await write(there === undefined || there.isFile() ? `${file}.part` : file)
  } catch (cause) {
    const message = `bench: cannot write '${file}': ${(cause as Error).message}`
    throw new ResNetError('ERR_RESNET_IO', message, { cause })
  }
}

/** A result names no folder of the machine that it was measured on. */
export function withoutFolders(results: Results): Results {
  const trials = results.trials.map((trial): TrialResult => {
    const { network, images, http } = trial
    const { checkpoint, onnx } = network
    return {
      ...trial,
      network: {
        ...network,
        ...(checkpoint === undefined ? {} : { checkpoint: path.basename(checkpoint) }),
        ...(onnx === undefined ? {} : { onnx: path.basename(onnx) }),
      },
      ...(images === undefined ? {} : { images: images.map((file) => path.basename(file)) }),
      ...(http?.server === undefined ? {} : { http: { ...http, server: path.basename(http.server) } }),
    }
  })
  return { ...results, trials }
}
