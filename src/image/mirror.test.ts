import { describe, expect, it } from 'vitest'
import { parseMirrors } from './mirror.ts'

const listing = (...addresses: string[]) =>
  addresses.map((address) => `'${address}' some_file_name 0 \n`).join('')

describe('finding Debian’s mirrors among the host’s sources', () => {
  it('takes the archive that has updates beside the release first, and security apart', () => {
    expect(
      parseMirrors(
        listing(
          'https://tools.example/linux/debian/dists/bookworm/InRelease',
          'http://mirror.example/debian/dists/bookworm/InRelease',
          'http://mirror.example/debian/dists/bookworm-updates/InRelease',
          'http://mirror.example/debian-security/dists/bookworm-security/InRelease',
          'http://mirror.example/debian/dists/bookworm/main/binary-amd64/Packages.xz',
        ),
      ),
    ).toEqual({
      archives: ['http://mirror.example/debian', 'https://tools.example/linux/debian'],
      security: ['http://mirror.example/debian-security'],
    })
  })

  it('knows the older name of the security suite, and other methods than http', () => {
    expect(
      parseMirrors(
        listing(
          'mirror+file:/etc/apt/mirrors/debian.list/dists/stable/InRelease',
          'file:/srv/security/dists/bullseye/updates/InRelease',
        ),
      ),
    ).toEqual({ archives: ['mirror+file:/etc/apt/mirrors/debian.list'], security: ['file:/srv/security'] })
  })

  it('takes nothing that is not called like a Debian release', () => {
    expect(
      parseMirrors(
        listing(
          'https://apt.example/dists/nodistro/InRelease',
          'https://other.example/dists/jammy/InRelease',
        ),
      ),
    ).toEqual({ archives: [], security: [] })
    expect(parseMirrors('')).toEqual({ archives: [], security: [] })
  })
})
