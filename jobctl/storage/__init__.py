"""The database: tables, statements, and one store for each kind of database behind a common port."""
