// SPDX-License-Identifier: MIT
// foldnorm/files/atomic_file.hpp -- a file that is there in full, or not at all. POSIX.
#pragma once

#include <foldnorm/core/errors.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace foldnorm::inline FOLDNORM_ABI {

// Written beside its final place, under a name of its own, and renamed when it is complete: until commit() returns,
// what was at that place before is untouched. Destroyed before, it leaves nothing behind. Every function throws
// std::runtime_error "FILE: what". A symbolic link at the final place is replaced, not followed; a file that is
// replaced hands its permissions on. A device, a pipe or a folder there, or behind a link, is refused: renamed to
// /dev/null, a file would take its place for the whole machine.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path) : path_(std::move(path)) {
    struct stat old {};
    bool const replaces = ::stat(path_.c_str(), &old) == 0;
    if (replaces && !S_ISREG(old.st_mode)) {
      detail::raise<std::runtime_error>(path_.string() + ": cannot be written: it is there, and not a regular file");
    }
    // File systems allow names of 255 bytes.
    std::filesystem::path const beside = path_.parent_path() / path_.filename().string().substr(0, 200);
    for (int attempt = 0; descriptor_ < 0; ++attempt) {
      partial_ = beside.string() + ".partial" + std::to_string(::getpid()) + "." + std::to_string(attempt);
      descriptor_ = ::open(partial_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      if (descriptor_ >= 0 || errno == EEXIST) continue;
      partial_.clear();
      fail();
    }
    if (replaces) ::fchmod(descriptor_, old.st_mode & 07777);  // fails where the file system has no permissions
  }
  AtomicFile(AtomicFile const&) = delete;
  AtomicFile& operator=(AtomicFile const&) = delete;
  ~AtomicFile() { discard(); }

  void write(std::span<std::byte const> bytes) {
    while (!bytes.empty()) {
      ssize_t const written = ::write(descriptor_, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) fail();
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
  }
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }

  // Brings all that was written to the disk: of several files that belong together, first close() each, which can fail,
  // then commit() each.
  void close() {
    if (descriptor_ < 0) return;
    if (::fsync(descriptor_) != 0) fail();
    if (::close(std::exchange(descriptor_, -1)) != 0) fail();
  }

  // What has been written so far can be read there.
  std::filesystem::path partial_path() const { return partial_; }

  // Closes it, and puts it in its place.
  void commit() {
    close();
    if (::rename(partial_.c_str(), path_.c_str()) != 0) fail();
    partial_.clear();
    // The new name, too, outlives a power failure. Some file systems cannot promise that; the file is complete there.
    std::filesystem::path const folder = path_.has_parent_path() ? path_.parent_path() : std::filesystem::path(".");
    int const directory = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0) return;
    ::fsync(directory);
    ::close(directory);
  }

 private:
  [[noreturn]] void fail() const {
    detail::raise<std::runtime_error>(path_.string() + ": cannot be written: " + std::strerror(errno));
  }
  void discard() noexcept {
    if (descriptor_ >= 0) ::close(descriptor_);
    if (!partial_.empty()) ::unlink(partial_.c_str());
  }

  std::filesystem::path path_;
  std::string partial_;  // empty once committed
  int descriptor_ = -1;
};

}  // namespace foldnorm::inline FOLDNORM_ABI
