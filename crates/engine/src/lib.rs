//! Durable executions: journal, driver, map runs, timers, retries and recovery.

pub mod invoker;
