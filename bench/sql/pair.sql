-- A reserve and its capture, each a transaction of its own; pgbench counts them as one.
\set account random(0, :accounts - 1)
SELECT bench_reserve(bench_account(:account), gen_random_uuid()::text, 3, 86400000000, 'bench', '{}') AS reserved \gset
SELECT bench_capture(bench_account(:account), gen_random_uuid()::text, :reserved);
