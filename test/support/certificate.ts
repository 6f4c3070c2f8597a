/** A key and a certificate, both PEM. */
export interface Certificate {
  readonly key: string;
  readonly cert: string;
}

/** Signs for `localhost`, `127.0.0.1` and `::1` until 2050. It is its own authority, and nothing but tests trusts it. */
export const CERTIFICATE: Certificate = {
  key: `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgh2rc63VwWBNqhRIl
dn4EzBGj0t3iE5pU8yzbxPBKPpKhRANCAAS8NaJ+xa7KnVTZWX8CpM5aUb7UPsb2
HD8Dg+CjcL0bGgjLDm+X2esbZgKhgqIOB0ZLj8VrJzUJr7y+9hKAYmdl
-----END PRIVATE KEY-----
`,
  cert: `-----BEGIN CERTIFICATE-----
MIIBWDCB/6ADAgECAgEBMAoGCCqGSM49BAMCMBYxFDASBgNVBAMMC3Rlc3Qgb3Jp
Z2luMB4XDTIwMDEwMTAwMDAwMFoXDTQ5MTIzMTAwMDAwMFowFjEUMBIGA1UEAwwL
dGVzdCBvcmlnaW4wWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAS8NaJ+xa7KnVTZ
WX8CpM5aUb7UPsb2HD8Dg+CjcL0bGgjLDm+X2esbZgKhgqIOB0ZLj8VrJzUJr7y+
9hKAYmdloz4wPDAsBgNVHREEJTAjgglsb2NhbGhvc3SHBH8AAAGHEAAAAAAAAAAA
AAAAAAAAAAEwDAYDVR0TBAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiEAvbrasa6e
VAmEuAp69BWJuIvJ/q9AJulb3yjJklJH2PUCIERPCXKM582marUi+YU/twQN0Ka9
T1NOJJ8CSyRNvPLg
-----END CERTIFICATE-----
`,
};
