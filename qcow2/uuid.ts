// UUIDs as text and as 16 bytes (RFC 9562).

const NIL = '00000000-0000-0000-0000-000000000000';

export const parseUuid = (text: string): Buffer => Buffer.from(text.replaceAll('-', ''), 'hex');

export const formatUuid = (raw: Uint8Array): string =>
  Buffer.from(raw)
    .toString('hex')
    .replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');

export const isNilUuid = (text: string): boolean => text === NIL;
export const NIL_UUID = NIL;
