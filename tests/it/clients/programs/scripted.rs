//! Libraries: each has a small program beside this file that takes the operations of the matrix by name.

/// Makes a [`Program`](crate::clients::matrix::Program) of a type whose `run(way, words)` runs such a program.
macro_rules! scripted {
    ($type:ty, |$of_title:ident| $title:expr, |$of_version:ident| $version:expr) => {
        impl $crate::clients::matrix::Program for $type {
            fn title(&self) -> &'static str {
                let $of_title = self;
                $title
            }
            fn version(&self) -> String {
                let $of_version = self;
                $version
            }
            fn put(&self, way: &Way<'_>, local: &std::path::Path, remote: &str) -> Did {
                self.run(way, &["put", local.to_str().unwrap(), remote])
            }
            fn put_many(&self, way: &Way<'_>, locals: &[std::path::PathBuf], directory: &str) -> Did {
                let files = locals.iter().map(|local| local.to_str().unwrap());
                self.run(way, &["put-many", directory].into_iter().chain(files).collect::<Vec<_>>())
            }
            fn resume(&self, way: &Way<'_>, local: &std::path::Path, remote: &str) -> Option<Did> {
                Some(self.run(way, &["resume", local.to_str().unwrap(), remote]))
            }
            fn put_and_rename(
                &self,
                way: &Way<'_>,
                local: &std::path::Path,
                working: &str,
                remote: &str,
            ) -> Option<Did> {
                Some(self.run(way, &["put-and-rename", local.to_str().unwrap(), working, remote]))
            }
            fn put_with_times(&self, way: &Way<'_>, local: &std::path::Path, remote: &str) -> Option<Did> {
                Some(self.run(way, &["put-with-times", local.to_str().unwrap(), remote]))
            }
            fn list(&self, way: &Way<'_>, directory: &str) -> Option<Did> {
                Some(self.run(way, &["list", directory]))
            }
            fn get(&self, way: &Way<'_>, remote: &str, local: &std::path::Path) -> Did {
                self.run(way, &["get", remote, local.to_str().unwrap()])
            }
        }
    };
}

pub(super) use scripted;
