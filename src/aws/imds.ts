/**
 * The region, asked of the EC2 instance metadata service (version 2) when nothing else says it. Never through a
 * proxy, and given up after a second: off EC2 nobody answers.
 */
import http from 'node:http';

const TIMEOUT_MS = 1_000;
const ANSWER_BYTES_MAX = 1024;

function endpoint(env: NodeJS.ProcessEnv): string {
  const given = env['AWS_EC2_METADATA_SERVICE_ENDPOINT'];
  if (given) return given;
  const ipv6 = env['AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE']?.toLowerCase() === 'ipv6';
  return ipv6 ? 'http://[fd00:ec2::254]' : 'http://169.254.169.254';
}

function ask(method: string, url: URL, headers: Record<string, string>): Promise<string> {
  return new Promise((resolve, reject) => {
    const agent = new http.Agent();
    const request = http.request(
      url,
      { method, headers, agent, signal: AbortSignal.timeout(TIMEOUT_MS) },
      (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => {
          text += chunk;
          if (text.length > ANSWER_BYTES_MAX) response.destroy(new Error('too long'));
        });
        response.on('error', reject);
        response.on('end', () => {
          if (response.statusCode === 200) resolve(text.trim());
          else reject(new Error(`status ${response.statusCode}`));
        });
      },
    );
    request.on('error', reject);
    request.end();
  });
}

/** The instance's region, or undefined off EC2 and where AWS_EC2_METADATA_DISABLED is set. */
export async function regionFromInstance(env: NodeJS.ProcessEnv): Promise<string | undefined> {
  if (env['AWS_EC2_METADATA_DISABLED']?.toLowerCase() === 'true') return undefined;
  try {
    const base = endpoint(env);
    const token = await ask('PUT', new URL('/latest/api/token', base), {
      'x-aws-ec2-metadata-token-ttl-seconds': '60',
    });
    const region = await ask('GET', new URL('/latest/meta-data/placement/region', base), {
      'x-aws-ec2-metadata-token': token,
    });
    return /^[a-z0-9-]{1,40}$/.test(region) ? region : undefined;
  } catch {
    return undefined;
  }
}
