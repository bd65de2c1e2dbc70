/** `node test/store-list.ts URL PREFIX`: prints each entry of a store below a prefix as a line of JSON, its value as text. */
import { openStore } from '../src/store/open.ts'

const [url, prefix] = process.argv.slice(2)
const store = await openStore(url)
for (const { key, value } of await store.list(prefix)) {
  process.stdout.write(`${JSON.stringify({ key, value: Buffer.from(value).toString() })}\n`)
}
await store.close()
