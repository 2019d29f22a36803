// SPDX-License-Identifier: MIT
// training/csv_log.hpp -- a table of numbers, a row at a time, for plots and other programs.
#pragma once

#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace foldnorm::training {

class CsvLog {
 public:
  // Creates the folder. Throws std::runtime_error if the file cannot be written; so does write.
  CsvLog(std::filesystem::path path, std::string_view header) : path_(std::move(path)) {
    if (path_.has_parent_path()) std::filesystem::create_directories(path_.parent_path());
    file_.open(path_);
    file_.precision(9);
    file_ << header << '\n';
    check();
  }

  void write(std::initializer_list<double> row) {
    char const* separator = "";
    for (double const value : row) file_ << std::exchange(separator, ",") << value;
    file_ << '\n';
    file_.flush();
    check();
  }

  std::filesystem::path const& path() const { return path_; }

 private:
  void check() const {
    if (!file_) throw std::runtime_error(path_.string() + ": cannot be written");
  }

  std::filesystem::path path_;
  std::ofstream file_;
};

}  // namespace foldnorm::training
