"""docs/connectors.md, written from the same models that check provider_data.

Belongs here: the document's prose, and tables made of JSON Schemas and presets, so that
the document cannot say what the code does not do. Does not: any fact about a provider
(presets) or a field (the models' descriptions).

    python -m elt_assets.connectors.documentation docs/connectors.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from elt_assets.connectors import catalog
from elt_assets.connectors.presets.preset import Preset, presets, verdicts

_START = """\
# Connecting providers

<!-- Made by: python -m elt_assets.connectors.documentation docs/connectors.md -->

An integration is one YAML (or JSON) file, its provider_data, wherever you keep it: what it says
is stored when it is added. `--org` is your customer, `--id` your own name for this connection of
theirs; together they are its name, `acme:okta-main`, in every other command. Three commands
connect it:

```console
$ elt-assets integrations add --org acme --id okta-main --provider okta --data okta.yaml
$ elt-assets integrations test acme:okta-main     # one page, mapped, nothing written; warns
3 records on this page of 7 declared, 0 rejected; more pages follow; nothing was written
external_id  name      email            active  attributes            source_updated_at
1            Person 1  p1@acme.example  yes     {"department":"R&D"}  2026-01-02 03:04:05
…
$ elt-assets sync acme:okta-main                  # exit status 0: applied, 3: a person must decide
acme:okta-main applied: 7 staged, 7 inserted, 0 updated, 0 deleted, 7 in latest
```

From then on the daily schedule syncs it, and `elt-assets users acme:okta-main` lists its users.
`elt-assets integrations update acme:okta-main --data okta.yaml` replaces what the file said.

`elt-assets integrations providers` lists what can be connected, and
`elt-assets integrations schema PROVIDER` prints the JSON Schema of its file, which an editor
can complete and check. A mistake is refused in one line that names the field.

**Secrets** are never written into the file. `{env: OKTA_TOKEN}` names an environment variable
of the platform, `{file: /run/secrets/okta}` a file whose content is the secret. It is read when
a request needs it, goes to the integration's own origin (scheme, host and port) and nowhere
else, and is removed from every message.

## Okta

1. In the Okta admin console, open Security > API > Tokens and create a token, as an
   administrator who may read users.
2. Give it to the platform as an environment variable: `export OKTA_TOKEN=…`.
3. Write `okta.yaml`:

   ```yaml
   domain: acme.okta.com
   token: {env: OKTA_TOKEN}
   ```

4. Add, test and sync it with the three commands above.

The token acts with the rights of the administrator who made it; Read-Only Administrator is enough.
A 403 means that these rights are missing, a 401 that the token was revoked: Okta does so after 30
days without use. Okta allows a fixed number of requests a minute to the whole organization;
`rate_limit: {requests_per_second: 5}` leaves the others some of it.

## Microsoft Entra ID

1. In the Entra admin centre, open App registrations and register an application.
2. Under API permissions, add the application permission `User.Read.All` of Microsoft Graph and
   grant admin consent.
3. Under Certificates & secrets, create a client secret: `export ENTRA_CLIENT_SECRET=…`.
4. Write `entra.yaml` with the two ids of the application's overview page:

   ```yaml
   tenant_id: 00000000-0000-0000-0000-000000000000
   client_id: 11111111-1111-1111-1111-111111111111
   client_secret: {env: ENTRA_CLIENT_SECRET}
   ```

5. `elt-assets integrations add --org acme --id entra --provider entra_id --data entra.yaml`, then
   test and sync as above.

"answered 403" means that consent for the permission is missing (it has to be the application
permission, not the delegated one of the same name); "the token endpoint … answered 401" that the
client secret is wrong or has expired. A secret ends after two years at most: put the new one in
the same place, and nothing else changes.

## Google Workspace

1. In the Google Cloud console, create a service account in a project in which the Admin SDK API is
   enabled, and a JSON key for it. Keep the file where the platform can read it.
2. In the Google Admin console, open Security > API controls > Domain-wide delegation and add the
   service account's client id with the scope
   `https://www.googleapis.com/auth/admin.directory.user.readonly`.
3. Write `google.yaml` with the address of an administrator for whom it acts:

   ```yaml
   key: {file: /run/secrets/google_service_account.json}
   subject: admin@acme.example
   ```

4. Add it with `--id google --provider google_workspace --data google.yaml`, test and sync as above.

## Any REST API

Call the API once by hand and look at the answer:

```console
$ curl -H "Authorization: Bearer $ACME_TOKEN" 'https://directory.acme.example/v1/users?status=all'
{"data": {"items": [{"id": 7, "status": "ACTIVE", "profile": {"displayName": "Ada Lovelace",
 "email": "ada@acme.example"}, "lastUpdated": "2026-01-02T03:04:05Z"}],
 "next": "b2Zmc2V0", "total": 1820}}
```

Five questions, and the file that answers them:

```yaml
api_endpoint: https://directory.acme.example/v1      # what all paths start with
auth: {type: bearer, token: {env: ACME_TOKEN}}       # 1. who asks?
streams:
  users:
    path: /users
    params: {status: all}
    records: data.items                              # 2. where is the list?
    pagination: {type: cursor, cursor: data.next, param: cursor}   # 3. how does it go on?
    total: data.total                                # 4. does it say how many there are?
    fields:                                          # 5. what is where in a record?
      external_id: id
      name: profile.displayName
      email: profile.email
      active: status == "ACTIVE"
      source_updated_at: lastUpdated
      department: profile.department                 # any other name becomes an attribute
```

Write it as `acme.yaml`, replace what differs, and try it:
`elt-assets integrations add --org acme --id directory --provider rest --data acme.yaml`, then
`elt-assets integrations test acme:directory`, which shows what it found and warns about what looks
wrong: no ids, empty addresses, a count that disagrees, links that count. `--all-streams` tests
every stream that the file has, and `elt-assets connectors verify acme.yaml` looks closer (see
[Conformance](#conformance)).

**Who asks?** Secrets always by reference, `{env: NAME}` or `{file: PATH}`.

| what the API's documentation says | auth |
|---|---|
| `Authorization: Bearer …` | `{type: bearer, token: {env: ACME_TOKEN}}` |
| a header such as `X-Api-Key: …` | `{type: api_key, key: {env: KEY}, header: X-Api-Key}` |
| `Authorization: SSWS …` | the same with `header: Authorization` and `prefix: 'SSWS '` |
| `?api_key=…` | `{type: api_key, key: {env: KEY}, param: api_key}` |
| user name and password | `{type: basic, username: svc, password: {env: PASSWORD}}` |
| OAuth 2.0 client credentials | `oauth2_client_credentials`, as below |
| OAuth 2.0 refresh token | `oauth2_refresh_token`: the same and `refresh_token: {file: …}` |
| the same, replaced with each use | the file must be writable: the new token goes into it |
| a JWT that your key signs (RFC 7523) | `oauth2_jwt_bearer` with `token_url`, `key`, `issuer` |

```yaml
api_endpoint: https://directory.acme.example/v1
auth:
  type: oauth2_client_credentials
  token_url: https://login.acme.example/oauth/token
  client_id: elt-assets
  client_secret: {env: ACME_SECRET}
  scope: users.read
streams:
  users:
    path: /users
    pagination: {type: link_header}
    fields: {external_id: id, name: name, email: email}
```

Tokens are asked for when first needed, renewed before they end and once more when one is refused.
The token endpoint alone gets what proves the client; the API alone gets the token.

**How does it go on?**

| what you see | pagination |
|---|---|
| a token in the body, sent back | `{type: cursor, cursor: data.next, param: cursor}` |
| a token in a response header | `{type: cursor, header: After-Cursor, param: cursor}` |
| the next page's whole address in the body | `{type: next_url, url: '@odata.nextLink'}` |
| a `Link` header with `rel="next"` | `{type: link_header}` |
| `?page=3&per_page=100` | `{type: page, param: page, size_param: per_page, size: 100}` |
| `?offset=200&limit=100` | `{type: offset, param: offset, size_param: limit, size: 100}` |
| `?since_id=1234`, the last record's id | `{type: keyset, key: id, param: since_id}` |
| `startIndex` and `count` | `{type: scim}`, or rather `provider: scim` |
| everything at once | `{type: none}` |

Every type resumes: an interrupted sync goes on after the last page that was committed. Where
the place of a page can be told before the one in front of it arrived (page, offset, scim),
`rate_limit.concurrency` pages are fetched at once; otherwise one page is fetched while the last
one is written.

**POST.** With `body` requests are sent by POST, as `json`, as a `form` or as a `graphql` query. The
parameters of the pagination then stand in the body: `param: page.after` is the member `after` of
the object `page`, and with GraphQL a variable. A GraphQL error is an error, whatever came with it.

```yaml
api_endpoint: https://api.acme.example
auth: {type: bearer, token: {env: ACME_TOKEN}}
streams:
  users:
    path: /graphql
    body:
      type: graphql
      query: |
        query ($first: Int!, $after: String) {
          users(first: $first, after: $after) {
            nodes { id name email active }
            pageInfo { hasNextPage endCursor }
          }
        }
      variables: {first: 100}
    records: data.users.nodes
    more: data.users.pageInfo.hasNextPage
    pagination: {type: cursor, cursor: data.users.pageInfo.endCursor, param: after}
    fields: {external_id: id, name: name, email: email, active: active}
```

**How it ends.** A listing by key (`keyset`) ends at an empty page. Page, offset and SCIM listings
end at an empty page, or at the declared `total` on a page that is shorter than the longest one
before it: a total that is reached on a full page is tried by one more page. `null` instead of the
list, 204 and 404 (and 400, where the total was reached) end a listing if they follow a page with
records; elsewhere they make it incomplete. A listing by cursor or link ends where nothing leads on:
no token, `""`, `0`, `-1` or one of `stop`; `has_more: false` (`more` names another field); or a
page that gives its own token again and, asked for once more, is the same or empty. An object in the
place of the list, with a record's key and one more of its fields, is a list of that record.

**Totals.** `total: meta.total` says where the provider's count stands, `total: {header:
X-Total-Count}` that a response header has it. Numbers, texts and `12.0` are read; a negative total
is none. A total that is smaller than what was listed is reported as wrong and not used again in
that sync. Say `total: {path: count, estimate: true}` where the provider only estimates (PostgreSQL
behind parse-server does): an estimate neither ends a listing nor speaks for or against it.

**What the provider leaves out.** Some lists go no further than a number of records: `reach: 1000`
in page or offset pagination says so, and a listing that comes so far is incomplete whatever its
total says. Some APIs answer 200 and leave out whom the credentials may not see. Where another
request tells, name it, and the sync fails before the first page unless the answer bears it out;
where each page lists the granted scopes in a header, name that and the scopes, `requires: {header:
X-OAuth-Scopes, scopes: [users:read], otherwise: …}`:

```yaml
api_endpoint: https://directory.acme.example/v1
streams:
  users:
    path: /users
    pagination: {type: link_header}
    fields: {external_id: id, name: name, email: email}
    requires:
      path: /me
      holds: role == "auditor"
      otherwise: "The token must be that of an auditor, who sees everybody"
```

**One moment.** A record that leaves while pages are read can move another one to a page that was
read before. Cursors and links may count in disguise (`next_token: "10"`, `_page=2`), so no type of
pagination is exempt. `snapshot: true` states that all pages of one listing show the same moment,
as the provider's documentation must promise; a record that such a listing lacks is then deleted
without a second witness. It is refused for page, offset and SCIM pagination and for lists under
parents. No preset sets it: none of those providers promises it.

**A position that is no longer taken** (410, an error such as `Directory_ExpiredPageToken`, or 400
and 404 where an interrupted sync goes on) is dropped, and the listing begins again, once.

**Who left.** A listing alone is not taken for proof that a user left. The stream says how one
record is asked for, and each missing one is asked for before it is deleted:

```yaml
api_endpoint: https://directory.acme.example/v1
streams:
  users:
    path: /users
    pagination: {type: link_header}
    fields: {external_id: id, name: name, email: email}
    single:
      path: /users/{external_id}
      record: data                       # where the record is; without it the answer is it
      active: status != "DELETED"        # false for a record that the listing leaves out
      several: {param: filter, each: 'id eq "{external_id}"', most: 20}   # many at once
```

An answer counts only if a control passes in the same sync: a record that was just listed, whose
id has the same special characters, is asked for over the same path and must be answered as
present. Then 404 or 410 in the API's own content type, a SCIM error, or a record that is not
`active` mean gone; a record that comes back keeps its user. Everything else (the page of a proxy,
a 403, a redirect, an id whose special characters no listed id has) says nothing, and the user is
deleted only when a second complete listing lacks it too. APIs that answer 200 where there is no
record say how they say it: `gone_if: error == "user_not_found"`. Where the listing has a filter
that `path` does not apply and `active` does not express, say `filtered: true`: a record that
comes back then waits for the second listing as well.

One sync sends at most one request for each missing record and one more, 500 in all, within
`rate_limit`. With `several`, more than five are asked for by filter, with a control at each end
of it. `elt-assets integrations test` asks for one listed record and says if that fails, or if the
stream does not say how a record is asked for.

**Only what changed.** `incremental: {param: updated_since, field: lastUpdated, full_every: 7d}`
asks for changes since the newest one already applied (less an `overlap`), and reads everything
once in `full_every`, because a list of changes does not show who left. `value` and `format` shape
the parameter, as in `{param: filter, value: 'lastUpdated gt "{since}"', field: lastUpdated}`.

**Names in braces.** `{organization_id}` and `{integration_id}` in a path or parameter are filled
in with the integration's own; other braces stay as they are.

**Unchanged pages.** Where a provider marks its answers with an `ETag`, the next sync asks for each
page only if it changed (`If-None-Match`); an answer of 304 is enough. Everything is requested
again after a failed or quarantined sync, in a further attempt, after a change of the configuration,
and with `sync --full`. With `link_header` and a cursor in a header the last page is always sent:
that it is the same does not say that nothing follows.

**Limits.** `rate_limit.requests_per_second` spaces requests. `Retry-After` (seconds or a date) and
`X-RateLimit-Remaining`/`-Reset` (also `X-Rate-Limit-*` and `RateLimit-*`) are kept to: a used-up
quota is waited out for up to a minute, and a longer wait ends the attempt, which a later one
continues. `Retry-After` may also be a fraction, milliseconds or a clock time; a 403 or a 200 that
says "too many requests" in its body counts as one. Integrations that use the same app (address,
client or secret, and rate) share one budget, across threads and all processes on this home.
All pages of an extraction share `ELT_ASSETS_FETCH_RETRY_BUDGET` further tries.

## Groups and who is in them

Next to `users` there are `groups` and `group_memberships`. An integration reads what it is
configured for; what it does not offer is nobody's failure. Each stream has its own syncs, limits,
change log and tables (`groups_latest`, `group_memberships_latest`), and `--stream` shows them:
`elt-assets records group_memberships acme:okta`.

With Okta, Entra ID, Google Workspace, GitHub (teams) and SCIM say what to read; each preset below
says which permission that takes:

```yaml
domain: acme.okta.com
token: {env: OKTA_TOKEN}
streams: [users, groups, group_memberships]
```

With any REST API, files or a database they are streams like users. A membership is identified by
two fields, `group_external_id` and `member_external_id`. Where the API has a list of members for
each group, that stream has a parent:

```yaml
api_endpoint: https://directory.acme.example/v1
streams:
  groups:
    path: /groups
    records: items
    pagination: {type: cursor, cursor: next, param: cursor}
    fields: {external_id: id, name: title, description: about}
  group_memberships:
    parent: {stream: groups}       # in_path: slug, where the address has something else
    path: /groups/{parent}/members
    records: items
    pagination: {type: cursor, cursor: next, param: cursor}
    fields: {group_external_id: $parent, member_external_id: id, kind: type, role: role}
```

Lists are read one after the other, their beginnings `rate_limit.concurrency` at once, and an
interrupted sync goes on inside the list it was at. Nobody is taken out of a group unless every
list was read to its end: a list that answers 404 while its group is still listed fails the sync,
which is tried again; a group whose id cannot be read, a count that disagrees or a page limit makes
the listing incomplete, and its deletes wait for a decision.

A membership that is missing is confirmed by reading the list of its group again, once for each
affected group; a group whose members are no longer shown to us removes nobody.

## Files

Files arrive in the integration's drop folder, `$ELT_ASSETS_HOME/drops/<organization>/<id>/`, or
in any folder that `directory` names. CSV, JSON Lines, JSON and Parquet are read, plain or
compressed with gzip or zstd; `.incomplete`, `.part` and other unfinished names are passed over.

```yaml
streams:
  users:
    path: users-*.csv.gz
    select: newest                 # every file is a whole listing; `all` is for listings in parts
    fields: {external_id: id, name: '"Display name"', email: mail, active: state == "1"}
```

A sensor asks for a sync when files are new or changed and have stood still for
`settle_seconds`; the same content dropped again is no sync. A file is read in chunks, each of
which is a checkpoint. A line that cannot be told apart into values is a rejected record with its
number; a file that grows, changes or is cut short while it is read fails the sync, and no file
at all is an error, never an empty listing. In CSV an empty value is null, and the delimiter is
found in the header. Text is UTF-8 unless a byte order mark or `encoding` says otherwise.

What spreadsheets add to CSV is understood: a byte order mark, a first line `sep=;`, lines that end
with a carriage return alone, rows of nothing but delimiters (no records), and columns without a
name or with one name for two, as long as no field uses them. For the rest of a report:

```yaml
streams:
  users:
    path: report.csv
    skip_rows: 2                   # lines before the header
    skip_last: 1                   # rows at the end, such as a total
    where: 'kind != "device"'      # which rows are records
    decimal: ","                   # 1.234,5 is stored as 1234.5
    fields: {external_id: id, name: name}
```

Half of a CSV or JSON Lines file reads like a whole one. So a row that such a file lacks is deleted
only once the same file has been read again, 15 minutes (`CONFIRM_AFTER`) later; the daemon does
that by itself. `complete` names what proves at once that a file is there in full, a file next to it
that is written last: `complete: {marker: "{name}.done"}`, `{checksum: "{name}.sha256"}` or
`{count: "{name}.count"}`.

Parquet, JSON documents and gzip prove it by themselves.

In Parquet, UUIDs are written as people know them, and bytes that are text are text; other bytes are
written in base64.

## LDAP and Active Directory

```yaml
connection:
  host: ldap.acme.example
  user: cn=reader,dc=acme,dc=example     # may only read; in Active Directory also name@domain
  password: {env: LDAP_PASSWORD}
directory: openldap                      # or active_directory
base: dc=acme,dc=example
streams:
  users:
    filter: (objectClass=inetOrgPerson)
    incremental: {full_every: 1d}        # optional
    fields:
      external_id: entryUUID             # never changes, unlike uid and the name of the entry
      name: displayName || cn
      email: mail
      active: $enabled
  groups:
    filter: (objectClass=groupOfNames)
    fields: {external_id: entryUUID, name: cn, description: description}
  group_memberships:
    filter: (objectClass=groupOfNames)
    members: {attribute: member, nested: true}
    fields: {group_external_id: group, member_external_id: member, kind: kind}
```

In Active Directory the filters are `(&(objectCategory=person)(objectClass=user))` and
`(objectClass=group)`, and `external_id` is `objectGUID`. Add it with `--provider ldap`, test and
sync as above.

**Connection.** TLS from the first byte (`tls: ldaps`, port 636) unless `tls: start_tls` or
`tls: off` says otherwise. With `off` the password and all entries are sent in the clear.
`tls_ca` names the file of an authority of your own. The bind is a simple one.

**Values.** What stands in `fields` are attributes, in any case; only these are asked for. GUIDs,
SIDs and times are written as people know them, other bytes in base64. An attribute with several
values gives the first one in alphabetical order, unless `several` names it; `memberOf`,
`proxyAddresses` and `objectClass` are always lists. Values that Active Directory sends in parts are
put together. `$dn` is the name of the entry. `$enabled` is false where `userAccountControl` says
that the account is disabled, `nsAccountLock` is true, or `pwdAccountLockedTime` locks it for good.

**Pages.** A page is `page_size` entries (simple paged results, RFC 2696). The server forgets where
a listing stands when its connection ends. A sync that goes on after an interruption therefore
reads the entries before its last commit again and compares their keys with what it read. If they
differ, the listing begins again.

**Incomplete.** A size limit, a time limit or an administrative limit of the server, and a part of
the tree that another server holds, make the listing incomplete, and nobody is deleted. In Active
Directory a search below the domain itself always leads to such parts, which hold no people: name
an organizational unit as `base`, or say `referrals: ignore`.

**Who left.** Each missing entry is searched for by its key, below the same base and with the same
filter, together with an entry that was just listed. A missing membership is looked for in its
group.

**Changes.** `incremental` searches for entries by `modifyTimestamp`, or `whenChanged` in Active
Directory. A full listing now and then finds who left.

**Memberships.** The filter finds groups; `attribute` lists their members, by name or by another
attribute of the member (`{attribute: memberUid, names: uid}`). The keys are those of the streams
`users` and `groups`. With `nested`, members of a group in the group belong to the outer group as
well. A name without an entry is no member. Active Directory does not list members of a person's
primary group, which is mostly Domain Users.

## A database

```yaml
connection:
  type: postgresql                 # or mysql (MariaDB, too), or sqlite with a path
  host: db.acme.example
  database: hr
  user: reader                     # a user who may only read
  password: {env: HR_PASSWORD}
streams:
  users:
    query: SELECT id, name, email, updated_at FROM people WHERE hired
    key: id                        # unique and never null
    fields: {external_id: id, name: name, email: email, source_updated_at: updated_at}
```

The query is one SELECT; anything else is refused when it is configured, and the session is
also read-only. Pages are read in the order of `key`, which the database is asked about first:
a key that repeats or is null would lose rows, so it is refused. The database's own count of rows
goes into the certificate. A server is read in one snapshot, and a sync that goes on after an
interruption in a second one: if the count differs then, its deletes wait for a decision. Servers
must prove who they are by TLS unless `tls` says otherwise; a URI's only option is `sslmode`
(`verify-full`, `require`, `disable`). Nothing is inherited from the platform's account: user, host
and database must be given, and a missing password stays missing.

## A source made for dlt

Any [dlt](https://dlthub.com) source or resource, of dlt's own or yours, with the extra
`elt-assets[dlt]` installed. It is code that runs inside the platform: set
`ELT_ASSETS_ALLOW_CODE=true` where that is wanted.

```yaml
source: dlt.sources.rest_api:rest_api_source     # package.module:function, imported and executed
arguments:
  config:
    client:
      base_url: https://directory.acme.example/v1/
      auth: {type: bearer, token: {env: ACME_TOKEN}}
    resources: [people]
streams:
  users:
    resource: people               # one of the source's; the stream's own name when left out
    fields: {external_id: id, name: display_name, email: email}
```

What `source` names is code that runs with all the platform's rights: name only what you trust. It
must be importable: installed in the same environment, or in a folder of PYTHONPATH. The names in
`fields` are those of the items as the resource yields them, before anything that dlt would rename;
items are objects, or rows of Arrow tables. An object with nothing but `env` or `file` anywhere in
`arguments` is replaced by the secret.

Of dlt only the resource is used: no pipeline is made, nothing is written to its folders and
telemetry is off. So an interrupted extraction begins again from its first page, under the same
sync (the certificate has `resumable: false`), and dlt's own incremental cursors are not kept.
A resource that begins at a moment (`dlt.sources.incremental` with an initial value) or has a limit
(`add_limit`) does not list everybody, and then nobody is deleted. As nobody can tell how a resource
pages, a user is deleted when missing from a second listing too;
`snapshot: true` on the stream promises that one listing is one consistent state.

## Expressions

What stands on the right of `fields`:

| expression | finds |
|---|---|
| `profile.email` | the value at that path |
| `emails[0].value` | a position in a list |
| `emails[primary == true].value` | the first member where it holds (`==`, `!=`) |
| `"a.b"` | a key that has a dot or a space in it; keys that begin with `@` need no quotes |
| `status == "ACTIVE"`, `blocked != true` | true or false |
| `suspended != true && archived != true` | true where every comparison holds |
| `displayName \\|\\| userName` | the first that is there and not empty |
| `firstName + ' ' + lastName` | texts joined; what is missing is left out |

A comparison is about the kind, too: `level == 1` is true of the number and not of the text "1",
`level == "1"` the other way round.

Values are read as they are meant:

- A key is text, as it is, Unicode included. A number is written in digits: 101 and 101.0 are the
  same key. A floating point number from 2^53 on is no key, since it may be the id of two records.
- An empty text is null, but for keys and inside of nested values.
- True and false may be spelled true, t, yes, y, on, 1, 1.0 and false, f, no, n, off, 0, 0.0, in
  any case and with spaces around them.
- `source_updated_at` takes RFC 3339 and ISO 8601 (also basic, with any offset; UTC without one)
  and time since 1970 in seconds, milli-, micro- or nanoseconds, as text or as a number. A time that
  cannot be read costs the time and not the record.
- Nested values compare by what they mean: the order of an object's members is no difference.
  Where the order of a list is none either, name the field in the stream's `unordered: [roles]`.

`external_id` must be a path to an id that never changes and is never given to somebody else; not
a login name. `deleted` is a tombstone: an expression that is true of a record whose user left.
A record that cannot be mapped is kept with its reason (`elt-assets rejected ORG:ID`), and its user
is not deleted.
"""

_PRESETS = """
## Presets

Providers that ask only for what is particular to you. Each also takes `fields` (further fields, or
other places for the usual ones), `params`, `rate_limit`, `safeguards` and `permission_source_name`.
"""

_CONFORMANCE = """
## Conformance

`elt-assets connectors verify okta` runs the checks below on a preset, against an emulator of its
provider that was written from the provider's documentation and shares no code with the preset.
`elt-assets connectors verify acme.yaml` runs them on a configuration of your own against the
server that it names, and `--against http://127.0.0.1:8000` against another; `--json` prints one
document, and the exit status is 1 if a check fails. The server is read several times and sent
wrong credentials once; nothing is written to the installation. What needs a server that
misbehaves on demand is then "not checked". The same checks are a test for pytest:

```console
$ pytest -p elt_assets.conformance.pytest_plugin --connector acme.yaml
```

| check | what must hold |
|---|---|
| pages | every record of every page, once |
| resume | reading goes on from every page |
| credentials | wrong credentials are an error and not an empty list |
| permissions | a permission that hides records or fields deletes and empties nothing |
| caps | a listing that the provider cuts off is incomplete |
| budget | the provider's budget is kept and waited for |
| unstable | records that move between pages are not deleted |
| probe | a record asked for alone is found, gone or unknown, rightly |
| fields | fields and states are mapped as documented |
| secrets | no secret is stored or shown |

How the presets stand (✓ passed, ! passed with a warning, – does not apply; written by
`python -m elt_assets.conformance.table docs/connectors.md`):
"""

_SIGNS = {"passed": "✓", "warned": "!", "failed": "**failed**", "not applicable": "–"}

_REFERENCE = """
## Reference

Every field of every provider that is not a preset. `elt-assets integrations schema PROVIDER` prints
the same as JSON Schema.
"""

_SHARED = """
### Parts of several providers
"""

Schema = dict[str, Any]


def document() -> str:
    """The whole document."""
    parts = [_START, _PRESETS]
    for name, preset in presets().items():
        parts += _preset(name, preset)
    parts += [_CONFORMANCE, _verdicts(), _REFERENCE]
    schemas = {name: catalog.schema(name) for name in catalog.providers() if name not in presets()}
    shared = _shared(schemas.values())
    for name, schema in schemas.items():
        parts += _model(f"provider: {name}", schema, shared)
    parts.append(_SHARED)
    for name in sorted(shared):
        parts += _part(name, shared[name], shared)
    return "\n".join(part.strip("\n") + "\n" for part in parts)


def _preset(name: str, preset: Preset) -> Iterator[str]:
    yield f"### {preset.title} (`{name}`)"
    yield f"{preset.about.strip()} [Documentation]({preset.documentation})"
    example = yaml.safe_dump(preset.example, sort_keys=False, default_flow_style=False)
    yield f"```yaml\n{example}```"
    rows = []
    for asked, ask in preset.asks.items():
        kind = "secret" if ask.secret else "text"
        default = (
            "required" if preset.required(asked) else f"`{ask.default}`" if ask.default else ""
        )
        rows.append((f"`{asked}`", kind, default, ask.description))
    offered = ", ".join(preset.rest["streams"])
    if preset.streams_need:
        about = f"What to read: {offered}. {preset.streams_need.strip()}"
        rows.append(("`streams`", "list", "`[users]`", about))
    yield _table(("field", "type", "default", "meaning"), rows)
    if preset.limits:
        yield "**What it cannot do, and what to know:**"
        yield "\n".join(f"- {limit.strip()}" for limit in preset.limits)
    sources = ", ".join(f"[{place}]({at})" for place, at in enumerate(preset.sources, 1))
    yield f"Checked against the provider's documentation on {preset.checked}: {sources}."


def _verdicts() -> str:
    """Providers by checks."""
    found = verdicts()
    checks = list(next(iter(found.values())))
    rows = [
        (f"`{name}`", *(_SIGNS.get(found[name][check], "?") for check in checks))
        for name in sorted(found)
    ]
    return _table(("preset", *checks), rows)


def _shared(schemas: Iterable[Schema]) -> dict[str, Schema]:
    """The parts that more than one provider has."""
    found: dict[str, list[Schema]] = {}
    for schema in schemas:
        for name, part in schema.get("$defs", {}).items():
            found.setdefault(name, []).append(part)
    return {name: parts[0] for name, parts in found.items() if len(parts) > 1}


def _model(title: str, schema: Schema, shared: dict[str, Schema]) -> Iterator[str]:
    yield f"### `{title}`"
    if about := schema.get("description"):
        yield about
    parts = schema.get("$defs", {})
    yield _fields(schema, parts)
    for name, part in parts.items():
        if name not in shared:
            yield from _part(name, part, parts)


def _part(name: str, part: Schema, parts: dict[str, Schema]) -> Iterator[str]:
    if "properties" not in part:
        return
    kind = _kind(part)
    yield f"#### {name}" if kind is None else f"#### {name}: `type: {kind}`"
    if about := part.get("description"):
        yield about
    yield _fields(part, parts)


def _kind(part: Schema) -> str | None:
    """What stands in `type` of a part that is one of several."""
    kind = part.get("properties", {}).get("type", {}).get("const")
    return None if kind is None else str(kind)


def _fields(schema: Schema, parts: dict[str, Schema]) -> str:
    required = schema.get("required", ())
    rows = []
    for name, field in schema["properties"].items():
        default = "required" if name in required else _default(field)
        rows.append((f"`{name}`", _type(field, parts), default, field.get("description", "")))
    return _table(("field", "type", "default", "meaning"), rows)


def _default(field: Schema) -> str:
    default = field.get("default")
    if default in (None, "", [], {}):
        return ""
    return f"`{yaml.safe_dump(default, default_flow_style=True).splitlines()[0]}`"


def _type(field: Schema, parts: dict[str, Schema]) -> str:
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if "$ref" in field:
        name = str(field["$ref"].rsplit("/", 1)[-1])
        part = parts.get(name, {})
        kind = _kind(part)
        return f"[{name if kind is None else f'`{kind}`'}](#{_anchor(name, part)})"
    for several in ("anyOf", "oneOf"):
        if several in field:
            kinds = [_type(one, parts) for one in field[several] if one.get("type") != "null"]
            return " or ".join(dict.fromkeys(kinds))
    form = field.get("type")
    if form == "array":
        return f"list of {_type(field.get('items', {}), parts)}"
    if form == "object":
        inner = field.get("additionalProperties")
        return f"map to {_type(inner, parts)}" if isinstance(inner, dict) else "map"
    names = {"string": "text", "integer": "whole number", "boolean": "true or false"}
    return names.get(str(form), str(form or "anything"))


def _anchor(name: str, part: Schema) -> str:
    """How a heading is linked to, by the rules of GitHub."""
    kind = _kind(part)
    return name.lower() if kind is None else f"{name.lower()}-type-{kind}"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |"
        for line in lines
    )


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(document(), encoding="utf-8")
