import path from 'node:path'

/** The package's own folder: this file's parent's parent in a checkout (lib/) and once compiled (dist/) alike. */
export const packageRoot = path.join(__dirname, '..')
