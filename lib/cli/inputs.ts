import { type Stats, statSync } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import path from 'node:path'
import sharp from 'sharp'
import { glob, isDynamicPattern } from 'tinyglobby'
import { ResNetError } from '../errors.js'

/** One image to work on, or what is wrong with an argument that names none. */
export interface Input {
  /** As the results name it. */
  file: string
  image: string | URL
  error?: ResNetError
}

/** Suffixes of the image types that can be decoded from memory: '.jpg', '.png', … */
const imageSuffixes: readonly string[] = Object.values(sharp.format)
  .flatMap((format) => (format.input.buffer ? (format.input.fileSuffix ?? []) : []))
  .map((suffix) => suffix.toLowerCase())

const isImageFile = (file: string) => imageSuffixes.some((suffix) => file.toLowerCase().endsWith(suffix))

/**
 * The images that the arguments name, in their order: addresses and files as they are, folders walked recursively and
 * patterns expanded, each sorted and reduced to image types. An argument without images becomes one failed input.
 */
export async function expandInputs(names: readonly string[]): Promise<Input[]> {
  const expanded: Input[][] = []
  for (const name of names) expanded.push(await expand(name))
  return expanded.flat()
}

async function expand(name: string): Promise<Input[]> {
  if (/^(https?|file):\/\//i.test(name)) {
    return URL.canParse(name)
      ? [{ file: name, image: new URL(name) }]
      : [failed(name, 'This address is malformed.')]
  }
  const stats: Stats | undefined = statSync(name, { throwIfNoEntry: false })
  if (stats?.isDirectory()) {
    const found: Found = { files: [], unreadable: [] }
    await walk(name, found)
    const inputs = [...found.unreadable, ...(imagesAmong(found.files) ?? [])]
    if (inputs.length > 0) return inputs
    return [failed(name, `The folder '${name}' holds no image (${imageSuffixes.join(' ')}). Check the path.`)]
  }
  if (stats === undefined && isDynamicPattern(name)) {
    return (
      imagesAmong(await glob(name)) ?? [
        failed(
          name,
          `The pattern '${name}' matches no image (${imageSuffixes.join(' ')}). Check it, and quote it if your shell expands it.`,
        ),
      ]
    )
  }
  // A missing file is reported when it is read, by the words that the library has for it.
  return [{ file: name, image: name }]
}

interface Found {
  files: string[]
  /** Folders. */
  unreadable: Input[]
}

/** What is below a folder, hidden names left out. (A pattern would not match every name that a file may have.) */
async function walk(folder: string, found: Found): Promise<void> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((cause: Error) => {
    found.unreadable.push(failed(folder, `The folder '${folder}' cannot be read: ${cause.message}.`))
    return []
  })
  for (const entry of entries) {
    const file = path.join(folder, entry.name)
    if (entry.name.startsWith('.')) continue
    if (entry.isDirectory()) await walk(file, found)
    // A link to a folder is not followed: it may lead back up.
    else if (!entry.isSymbolicLink() || !(await isFolder(file))) found.files.push(file)
  }
}

/** A link that leads nowhere is none: reading it says so. */
async function isFolder(file: string): Promise<boolean> {
  return stat(file).then(
    (stats) => stats.isDirectory(),
    () => false,
  )
}

function imagesAmong(files: string[]): Input[] | undefined {
  const images = files.filter(isImageFile).sort()
  return images.length > 0 ? images.map((file) => ({ file, image: file })) : undefined
}

function failed(file: string, message: string): Input {
  return { file, image: file, error: new ResNetError('ERR_RESNET_IO', message) }
}
