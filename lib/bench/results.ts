import { readFile, rename, writeFile } from 'node:fs/promises'
import { ResNetError } from '../errors.js'
import { type Results, resultFormat, resultVersion } from './types.js'

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
  if (found?.format === resultFormat && found.version === resultVersion) return found as Results
  throw new ResNetError(
    'ERR_RESNET_CORRUPT',
    `bench: expected format '${resultFormat}' version ${resultVersion} in '${file}', received ` +
      `'${found?.format}' version ${found?.version}; run 'resnet bench' again`,
  )
}

/** Whole or not at all. @throws ERR_RESNET_IO */
export async function writeWhole(file: string, text: string): Promise<void> {
  try {
    await writeFile(`${file}.part`, text)
    await rename(`${file}.part`, file)
  } catch (cause) {
    const message = `bench: cannot write '${file}': ${(cause as Error).message}`
    throw new ResNetError('ERR_RESNET_IO', message, { cause })
  }
}
