// UUIDs as text and as 16 bytes (RFC 9562).

const UUID_BYTES = 16;
const NIL = '00000000-0000-0000-0000-000000000000';

export const parseUuid = (text: string): Buffer => Buffer.from(text.replaceAll('-', ''), 'hex');

/** The uuid whose 16 bytes begin at `raw[at]`. */
export const formatUuid = (raw: Buffer, at = 0): string =>
  formatHex(raw.toString('hex', at, at + UUID_BYTES));

const formatHex = (hex: string): string =>
  `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;

export const isNilUuid = (text: string): boolean => text === NIL;
export const NIL_UUID = NIL;
