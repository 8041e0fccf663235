//! Replicas that share rows.
