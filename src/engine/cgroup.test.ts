import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { tempDir } from '../../test/support/cli.js'
import { cgroupLimits } from './cgroup.js'

function world(self: string, files: Record<string, string>) {
  const root = tempDir()
  writeFileSync(path.join(root, 'self'), self)
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(root, name)), { recursive: true })
    writeFileSync(path.join(root, name), `${text}\n`)
  }
  return { self: path.join(root, 'self'), mount: path.join(root, 'cgroup') }
}

describe('cgroupLimits', () => {
  it('reads a container of version 2', () => {
    const roots = world('0::/\n', { 'cgroup/cpu.max': '150000 100000', 'cgroup/memory.max': '8589934592' })
    expect(cgroupLimits(roots)).toEqual({ cores: 1.5, memoryBytes: 8_589_934_592 })
  })

  it('takes the smallest limit between the process and the root', () => {
    const roots = world('0::/slurm/job_1/step_0\n', {
      'cgroup/slurm/cpu.max': '800000 100000',
      'cgroup/slurm/job_1/cpu.max': '400000 100000',
      'cgroup/slurm/job_1/step_0/cpu.max': 'max 100000',
      'cgroup/slurm/job_1/memory.max': '1000000',
      'cgroup/slurm/job_1/step_0/memory.max': 'max',
    })
    expect(cgroupLimits(roots)).toEqual({ cores: 4, memoryBytes: 1_000_000 })
  })

  it('reads version 1, whose paths may not exist inside a container', () => {
    const roots = world('4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n', {
      'cgroup/memory/memory.limit_in_bytes': '2147483648',
      'cgroup/cpu,cpuacct/cpu.cfs_quota_us': '250000',
      'cgroup/cpu,cpuacct/cpu.cfs_period_us': '100000',
    })
    expect(cgroupLimits(roots)).toEqual({ cores: 2.5, memoryBytes: 2_147_483_648 })
  })

  it('finds no limit where there is none', () => {
    const roots = world('4:memory:/\n1:cpu:/\n', {
      'cgroup/memory/memory.limit_in_bytes': '9223372036854771712',
      'cgroup/cpu/cpu.cfs_quota_us': '-1',
      'cgroup/cpu/cpu.cfs_period_us': '100000',
    })
    expect(cgroupLimits(roots)).toEqual({})
    expect(cgroupLimits({ self: '/nonexistent', mount: '/nonexistent' })).toEqual({})
  })
})
