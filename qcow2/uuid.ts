// UUIDs as text and as 16 bytes (RFC 9562).

const NIL = '00000000-0000-0000-0000-000000000000';

export const parseUuid = (text: string): Buffer => Buffer.from(text.replaceAll('-', ''), 'hex');

export const formatUuid = (raw: Uint8Array): string =>
  formatHex(Buffer.from(raw.buffer, raw.byteOffset, raw.length).toString('hex'));

const formatHex = (hex: string): string =>
  `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;

export const isNilUuid = (text: string): boolean => text === NIL;
export const NIL_UUID = NIL;
