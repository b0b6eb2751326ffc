/** The YAML library as a file that is imported late: few checkpoints bring YAML, and the library is large. */
export { parse as parseYaml } from 'yaml'
