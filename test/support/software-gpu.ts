/** SwiftShader, the Vulkan driver in software that comes with Chromium: WebGPU without a GPU. */
import { existsSync, realpathSync } from 'node:fs'
import path from 'node:path'
import { findChromium } from './chromium.js'

/** Variables with which a process finds it and no other driver. `runtimeDir` is any folder. */
export function softwareGpu(runtimeDir: string): Record<string, string> {
  const folders = [path.dirname(realpathSync(findChromium())), '/usr/lib/chromium', '/opt/google/chrome']
  const folder = folders.find((name) => existsSync(path.join(name, 'vk_swiftshader_icd.json')))
  if (!folder) throw new Error(`no vk_swiftshader_icd.json in ${folders.join(', ')}`)
  return {
    VK_ICD_FILENAMES: path.join(folder, 'vk_swiftshader_icd.json'),
    LD_LIBRARY_PATH: folder,
    XDG_RUNTIME_DIR: runtimeDir,
  }
}
