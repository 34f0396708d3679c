// The server of docs/recipes.md, as it stands there.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'

const root = path.join(__dirname, '..')
const sample = path.join(root, 'models', 'samples', '3.png')

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  probe.close()
  await once(probe, 'close')
  return port
}

describe('the server recipe', () => {
  let folder: string
  let child: ChildProcess
  let address: string
  let ended: Promise<unknown[]>

  beforeAll(async () => {
    const text = readFileSync(path.join(root, 'docs', 'recipes.md'), 'utf8')
    const code = /<!-- Run by test\/cli-recipes.test.ts. -->\n```js\n([\s\S]*?)```/.exec(text)?.[1]
    expect(code).toBeDefined()
    folder = mkdtempSync(path.join(tmpdir(), 'resnet-recipe-'))
    writeFileSync(path.join(folder, 'package.json'), '{}')
    writeFileSync(path.join(folder, 'server.mjs'), code as string)
    // Found as an installed package is.
    const modules = path.join(folder, 'node_modules')
    mkdirSync(modules)
    symlinkSync(root, path.join(modules, 'resnet'))
    const port = await freePort()
    address = `http://127.0.0.1:${port}/`
    child = spawn(process.execPath, ['server.mjs'], {
      cwd: folder,
      env: { ...process.env, PORT: String(port) },
      stdio: 'inherit',
    })
    ended = once(child, 'exit')
    await listening()
  })
  afterAll(() => {
    child.kill('SIGKILL')
    rmSync(folder, { recursive: true })
  })

  async function listening(): Promise<void> {
    const deadline = Date.now() + 30_000
    while (child.exitCode === null && Date.now() < deadline) {
      const up = await fetch(address, { method: 'POST', body: '' }).then(
        () => true,
        () => false,
      )
      if (up) return
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    throw new Error('the server did not start')
  }

  it('names a digit', async () => {
    const response = await fetch(address, { method: 'POST', body: readFileSync(sample) })
    expect(response.status).toBe(200)
    const predictions = (await response.json()) as { label: string; score: number }[]
    expect(predictions).toHaveLength(3)
    expect(predictions[0]?.label).toBe('handwritten 3')
  })

  it('answers 400 to what is no image', async () => {
    const response = await fetch(address, { method: 'POST', body: 'hello' })
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ code: 'ERR_RESNET_IMAGE' })
  })

  it('ends when asked to', async () => {
    child.kill('SIGTERM')
    expect(await ended).toEqual([0, null])
  })
})
