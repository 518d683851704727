// Feeds every file of tests/fuzz/corpus/TARGET to its target, in the ordinary build.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <vector>

#include "base/regular_file.h"
#include "targets.h"

namespace eav::fuzz {
namespace {

namespace fs = std::filesystem;

// The most memory that this process has taken so far, in MB.
int64_t peak() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss / 1024;
}

TEST(Corpora, AreReadOrRefused) {
  const auto at_start = peak();
  for (const auto& [name, target] : targets()) {
    std::vector<fs::path> files;
    for (const auto& file : fs::directory_iterator(fs::path(EAV_CORPUS) / name)) files.push_back(file.path());
    EXPECT_FALSE(files.empty()) << name;
    std::ranges::sort(files);
    for (const auto& file : files) {
      SCOPED_TRACE(file.string());
      const auto bytes = read_file(file);
      const auto start = std::clock();  // of this process, however busy the machine is
      EXPECT_NO_THROW(target(bytes));
      EXPECT_LT(std::clock() - start, 5 * CLOCKS_PER_SEC);
      ASSERT_LT(peak(), at_start + 1024);
    }
  }
}

TEST(Corpora, BelongToTargets) {
  for (const auto& folder : fs::directory_iterator(EAV_CORPUS))
    EXPECT_TRUE(targets().contains(folder.path().filename().string())) << folder.path();
}

}  // namespace
}  // namespace eav::fuzz
