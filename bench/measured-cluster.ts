/** A cluster for the time of a measurement, taken down however that ends. */
import { buildImage } from '../src/image/build.ts'
import type { OpenedImage } from '../src/image/directory.ts'
import { progressDisplay } from '../src/image/progress.ts'
import { TestCluster } from '../test/test-cluster.ts'

const HOSTS_DEFAULT = 2

/** Runs `work` in a cluster with image `tiny`. */
export async function inMeasuredCluster<T>(
  work: (world: TestCluster, image: OpenedImage) => Promise<T>,
  hosts = HOSTS_DEFAULT,
): Promise<T> {
  const image = await buildImage('tiny', { progress: progressDisplay(process.stderr) })
  const world = await TestCluster.up(hosts)
  // The cluster's processes do not belong to this terminal: Ctrl-C would leave them behind.
  const interrupted = () => void world.down().then(() => process.exit(1))
  process.once('SIGINT', interrupted)
  process.once('SIGTERM', interrupted)
  try {
    return await work(world, image)
  } finally {
    process.off('SIGINT', interrupted)
    process.off('SIGTERM', interrupted)
    await world.down()
  }
}
