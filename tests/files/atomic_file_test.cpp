// SPDX-License-Identifier: MIT
// tests/files/atomic_file_test.cpp -- all of a file or the old one, and nothing else in its folder.
#include <foldnorm/files/atomic_file.hpp>

#include "files/file_testing.hpp"
#include "graph/matchers.hpp"

#include "catch.hpp"

#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <filesystem>
#include <stdexcept>
#include <string>

using namespace foldnorm;
using namespace foldnorm::testing;
using foldnorm::testing::Contains;

namespace {

// While it lives, writing beyond so many bytes of a file fails (EFBIG), as on a full disk.
class SmallFiles {
 public:
  explicit SmallFiles(rlim_t bytes) : old_handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &old_);
    rlimit small = old_;
    small.rlim_cur = bytes;
    ::setrlimit(RLIMIT_FSIZE, &small);
  }
  ~SmallFiles() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, old_handler_);
  }

 private:
  rlimit old_{};
  void (*old_handler_)(int);
};

}  // namespace

TEST_CASE("atomic_file: the old file stays until commit, which puts the new one in its place") {
  TemporaryFolder const folder;
  write_bytes(folder / "f", "old");
  AtomicFile file(folder / "f");
  file.write("new ");
  file.write("file");
  file.close();
  CHECK(read_bytes(folder / "f") == "old");
  file.commit();
  CHECK(read_bytes(folder / "f") == "new file");
  CHECK(folder.file_count() == 1);
}

TEST_CASE("atomic_file: without commit nothing is left") {
  TemporaryFolder const folder;
  { AtomicFile(folder / "f").write("new"); }
  CHECK(folder.file_count() == 0);
  write_bytes(folder / "f", "old");
  {
    AtomicFile file(folder / "f");
    file.write("new");
    file.close();
  }
  CHECK(read_bytes(folder / "f") == "old");
  CHECK(folder.file_count() == 1);
}

TEST_CASE("atomic_file: a write that fails leaves the old file and no other") {
  TemporaryFolder const folder;
  write_bytes(folder / "f", "old");
  auto const write_much = [&] {
    AtomicFile file(folder / "f");
    for (int i = 0; i < 100; ++i) file.write(std::string(100, 'x'));
    file.commit();
  };
  {
    SmallFiles const limit(5000);
    CHECK_THROWS_WITH(write_much(), Contains("cannot be written: File too large"));
  }
  CHECK(read_bytes(folder / "f") == "old");
  CHECK(folder.file_count() == 1);
  write_much();
  CHECK(read_bytes(folder / "f").size() == 10'000);
}

TEST_CASE("atomic_file: a place that cannot be taken") {
  TemporaryFolder const folder;
  CHECK_THROWS_WITH(AtomicFile(folder / "nowhere/f"), Contains("nowhere/f") && Contains("No such file"));
  std::filesystem::create_directory(folder / "f");
  CHECK_THROWS_WITH(AtomicFile(folder / "f"), Contains("not a regular file"));
  CHECK(folder.file_count() == 1);
}

TEST_CASE("atomic_file: a pipe or a device stays what it is, behind a link as well") {
  TemporaryFolder const folder;
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  std::filesystem::create_symlink("/dev/null", folder / "link");
  CHECK_THROWS_WITH(AtomicFile(folder / "pipe"), Contains("not a regular file"));
  CHECK_THROWS_WITH(AtomicFile(folder / "link"), Contains("not a regular file"));
  CHECK(std::filesystem::is_fifo(folder / "pipe"));
  CHECK(std::filesystem::is_symlink(folder / "link"));
  CHECK(folder.file_count() == 2);
}

TEST_CASE("atomic_file: a name as long as file systems allow") {
  TemporaryFolder const folder;
  std::string const name(255, 'n');
  AtomicFile file(folder / name);
  file.write("new");
  file.commit();
  CHECK(read_bytes(folder / name) == "new");
  CHECK(folder.file_count() == 1);
}

TEST_CASE("atomic_file: a new file has the usual permissions, a replaced one those that it had") {
  TemporaryFolder const folder;
  write_bytes(folder / "plain", "");
  AtomicFile(folder / "new").commit();
  CHECK(std::filesystem::status(folder / "new").permissions() ==
        std::filesystem::status(folder / "plain").permissions());
  std::filesystem::permissions(folder / "plain", std::filesystem::perms::owner_read);
  AtomicFile(folder / "plain").commit();
  CHECK(std::filesystem::status(folder / "plain").permissions() == std::filesystem::perms::owner_read);
}

TEST_CASE("atomic_file: two at once, and the remains of a killed program, are not in each other's way") {
  TemporaryFolder const folder;
  AtomicFile first(folder / "f"), second(folder / "f");
  first.write("first");
  second.write("second");
  first.commit();
  second.commit();
  CHECK(read_bytes(folder / "f") == "second");
  CHECK(folder.file_count() == 1);
}
