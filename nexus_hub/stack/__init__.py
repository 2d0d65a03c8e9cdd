"""The embedded stack: PostgreSQL, Prefect's server, the API and a worker under one supervisor."""
