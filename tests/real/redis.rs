//! Redis servers of the tests' own.
