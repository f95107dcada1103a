"""Made test/vectors/old once (its README.md has what is what); not to be run again. It shares no code with src/.

    python3 old-vectors.py DIR     needs the package cryptography
"""
import base64, io, json, os, struct, sys, tarfile
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

out = sys.argv[1]
KEY_ID = 'arn:aws:kms:eu-west-1:123456789012:key/0b5ad1ba-1f2e-4a5c-9c3d-5ec2e75f50ff'
wrapping_key, index = os.urandom(32), []


def write(name, data):
    with open(os.path.join(out, name), 'wb') as file:
        file.write(data)


def wrap(plaintext, context):  # stands for KMS: test/support/stub-kms.ts undoes it
    nonce, aad = os.urandom(12), json.dumps(sorted(context.items())).replace(' ', '').encode()
    return b'\x01\x02\x02\x00\x78' + nonce + AESGCM(wrapping_key).encrypt(nonce, plaintext, aad)


def seal(key, plaintext, stored, bound):
    nonce = os.urandom(12) if stored else bytes(12)
    return (nonce if stored else b'') + AESGCM(key).encrypt(nonce, plaintext, KEY_ID.encode() if bound else None)


def tar(members):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode='w', format=tarfile.USTAR_FORMAT) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.uname, info.gname, info.mtime = len(data), 0o400, 'root', 'root', 1423000000
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def make(name, how, era, plaintext, context, stored, bound, member='secrets.tar.aes', place=None):
    key, actual = os.urandom(32), dict(context, Path=place) if place else context
    wrapped, sealed = wrap(key, actual), seal(key, plaintext, stored, bound)
    if how == 'pair':
        write(name + '.kms', wrapped), write(name + '.aes', sealed)
    elif how == 'tar':
        write(name, tar([(member, sealed), ('key.kms', wrapped)]))
    else:
        write(name, struct.pack('>I', len(wrapped)) + wrapped + sealed)
    index.append(dict(name=name, how=how, era=era, context=context, place=place, opensTo='secret' if plaintext is SECRET else 'pack.tar'))


SECRET, PLACE, CONTEXT = b'correct horse\n', 's3://bucket/prefix/db/password', {'team': 'infra', 'Zone': 'north'}
PACK = tar([('db/password', SECRET), ('tls/key.pem', b'not really a key\n')])
write('wrapping-key', wrapping_key), write('secret', SECRET), write('pack.tar', PACK)
make('a-2015-02-01', 'pair', 'A', SECRET, {}, True, False)
make('a-2015-02-03', 'pair', 'A', SECRET, CONTEXT, True, False)
make('a-2015-02-04', 'pair', 'A', SECRET, CONTEXT, True, False, place=PLACE)
make('a-2015-02-05', 'pair', 'A', SECRET, CONTEXT, True, True, place=PLACE)
make('a-2015-02-01.pack', 'tar', 'A', PACK, {}, True, False, 'encrypted.tar.aes')
make('a-2015-02-05.pack', 'tar', 'A', PACK, CONTEXT, True, False)
make('b-2015-04-17', 'pair', 'B', SECRET, CONTEXT, False, True, place=PLACE)
make('b-2015-04-17.pack', 'tar', 'B', PACK, CONTEXT, False, False)
make('b-2015-04-18', 'object', 'B', SECRET, CONTEXT, False, True, place=PLACE)
make('b-2015-04-18.pack', 'object', 'B', PACK, CONTEXT, False, True)
make('c-2015-04-21', 'object', 'C', SECRET, CONTEXT, True, True, place=PLACE)
make('c-2015-04-21.pack', 'object', 'C', PACK, CONTEXT, True, True)
raw = wrap(SECRET, CONTEXT)
write('raw.kms', raw)
write('raw.base64', base64.encodebytes(raw))
write('raw.json', json.dumps({'CiphertextBlob': base64.b64encode(raw).decode(), 'KeyId': KEY_ID}, indent=4).encode())
write('raw-inner.kms', wrap(base64.encodebytes(SECRET), CONTEXT))
write('index.json', json.dumps(dict(keyId=KEY_ID, vectors=index), indent=1).encode())
