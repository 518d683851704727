// Feeds every file of tests/fuzz/corpus/TARGET to its target, in the ordinary build.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <vector>

#include "base/regular_file.h"
#include "targets.h"

namespace eav::fuzz {
namespace {

namespace fs = std::filesystem;

TEST(Corpora, AreReadOrRefused) {
  for (const auto& [name, target] : targets()) {
    std::vector<fs::path> files;
    for (const auto& file : fs::directory_iterator(fs::path(EAV_CORPUS) / name)) files.push_back(file.path());
    EXPECT_FALSE(files.empty()) << name;
    std::ranges::sort(files);
    for (const auto& file : files) {
      SCOPED_TRACE(file.string());
      const auto bytes = read_file(file);
      const auto start = std::chrono::steady_clock::now();
      EXPECT_NO_THROW(target(bytes));
      EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
    }
  }
}

TEST(Corpora, BelongToTargets) {
  for (const auto& folder : fs::directory_iterator(EAV_CORPUS))
    EXPECT_TRUE(targets().contains(folder.path().filename().string())) << folder.path();
}

}  // namespace
}  // namespace eav::fuzz
