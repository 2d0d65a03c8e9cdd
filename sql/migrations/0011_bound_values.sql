-- Sealed values are bound to their owner beside their row. `bound` says that a rotation has left none that is not: from
-- then on no other is opened. Rotations of before have bound values to their rows only.
ALTER TABLE vault_rotations ADD COLUMN IF NOT EXISTS bound boolean NOT NULL DEFAULT false;
