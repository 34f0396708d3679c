// Photographs as a service gets them: 500x375, JPEG, quality 90, 4:2:0; cut from the two of the fixtures at many places, so
// that no two are alike, and brought to size.
import { existsSync, mkdirSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import sharp from 'sharp'

const fixtures = fileURLToPath(new URL('../../test/fixtures/images/', import.meta.url))
const sources = ['china.jpg', 'flower.jpg'].map((name) => path.join(fixtures, name))
const width = 500
const height = 375
const share = 0.85

/** Writes what is missing of `count` pictures into `folder`; gives their paths. */
export async function pictures(folder, count) {
  mkdirSync(folder, { recursive: true })
  const files = Array.from({ length: count }, (_, i) => path.join(folder, `${i}.jpg`))
  for (const [i, file] of files.entries()) {
    if (existsSync(file)) continue
    const source = sources[i % sources.length]
    const { width: w, height: h } = await sharp(source).metadata()
    const cut = { width: Math.floor(w * share), height: Math.floor(h * share) }
    const left = (i * 37) % (w - cut.width + 1)
    const top = (i * 23) % (h - cut.height + 1)
    const jpeg = { quality: 90, chromaSubsampling: '4:2:0' }
    await sharp(source)
      .extract({ left, top, ...cut })
      .resize(width, height, { fit: 'fill' })
      .jpeg(jpeg)
      .toFile(file)
  }
  return files
}
