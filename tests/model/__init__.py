"""An explicit-state model of the publish protocol; see `checker` for how it works.

``python -m tests.model [-t] [NAME...]`` prints the table of scenarios whose name contains one of NAME (all
without NAME); ``-t`` adds the shortest counterexample of each variant that fails. ``pytest tests/model`` runs
the quick scenarios, ``pytest tests/model --model=all`` the long ones too (minutes, gigabytes).

Modules, in reading order: `words` (word arithmetic, seals), `steps` (what programs are made of), `reader`,
`engine` (the writer frame and recovery as built: `engine_one`, `engine_redo`, `engine_txn`, `engine_clear`,
`engine_retire`), `invariants` (what must hold in every state), `checker` (the search), `scenarios*` (the
tables). `events` (the search again, judged by what watchers and waiters see), `events_log`, `events_writer` and
`events_reader` have the event log, the alert and waiting, over records of one word. `calls` (a search of its
own: store buffers, views, and what must be reached in the end), `calls_world`, `calls_server`, `calls_client` and
`calls_threads` have the calls. `writer`, `recovery` and
`successor` hold the first generation of the protocol with the alternatives that were rejected; they stay because
their failing variants say why each rule is there.
"""
