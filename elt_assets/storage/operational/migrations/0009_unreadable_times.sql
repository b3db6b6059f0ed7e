-- Records whose change time cannot be read.
ALTER TABLE syncs ADD COLUMN unreadable_times INTEGER NOT NULL DEFAULT 0;
