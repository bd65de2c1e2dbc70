/** The command `understudy`. The program itself is imported only once the cache of compiled code is in use. */
import { useCompileCache } from '../cluster/compile-cache.ts'

useCompileCache()
const { runProgram } = await import('./program.ts')
await runProgram()
