import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { startProgram } from '../support/run.js';

const { scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as { scripts: Record<string, string> };
const programs = Object.values(scripts).flatMap((script) => script.match(/(?<=tsx )\S+/g) ?? []);

it.for(programs)('%s prints its help, and refuses an option that it does not know', async (program) => {
  const run = (option: string) =>
    startProgram([process.execPath, '--import', 'tsx', program, option], {}).ended;
  const [help, refused] = await Promise.all([run('--help'), run('--hlep')]);
  expect(help).toMatchObject({ code: 0, stderr: '' });
  expect(help.stdout).not.toBe('');
  expect(refused).toMatchObject({ code: 2, stdout: '' });
  expect(refused.stderr).toMatch(/^Unknown option '--hlep'/);
  expect(refused.stderr).toContain(help.stdout.trim());
});
