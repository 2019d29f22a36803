// SPDX-License-Identifier: MIT
// tests/golden/golden.hpp -- arrays of a golden file: "NAME ROWS COLUMNS V1 V2 ...", column-major, '#' comments.
#pragma once

#include <foldnorm/core/types.hpp>

#include <fstream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>

namespace golden {

class Arrays {
 public:
  explicit Arrays(std::string const& path) {
    std::ifstream file(path);
    if (!file) throw std::runtime_error("cannot read " + path);
    for (std::string line; std::getline(file, line);) {
      if (line.empty() || line[0] == '#') continue;
      std::istringstream words(line);
      std::string array;
      foldnorm::Index rows = 0, columns = 0;
      words >> array >> rows >> columns;
      foldnorm::Matrix<double> values(rows, columns);
      for (foldnorm::Index i = 0; i < values.size(); ++i) words >> values.data()[i];
      if (!words) throw std::runtime_error("too few values of " + array + " in " + path);
      arrays_[array] = values;
    }
  }

  foldnorm::Matrix<double> const& operator()(std::string const& array) const { return arrays_.at(array); }
  double number(std::string const& array) const { return arrays_.at(array)(0, 0); }

 private:
  std::map<std::string, foldnorm::Matrix<double>> arrays_;
};

inline Arrays const& whitening() {
  static Arrays const arrays(FOLDNORM_GOLDEN_DIRECTORY "/whitening.txt");
  return arrays;
}

}  // namespace golden
