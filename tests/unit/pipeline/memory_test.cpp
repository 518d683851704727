// Limits of control groups, as the kernel writes them.
#include "pipeline/memory.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

namespace eav {
namespace {

namespace fs = std::filesystem;

class ControlGroups : public testing::Test {
 protected:
  ~ControlGroups() override { fs::remove_all(dir_); }

  void write(const fs::path& file, const std::string& text) const {
    fs::create_directories((dir_ / file).parent_path());
    std::ofstream(dir_ / file) << text << "\n";
  }
  int64_t left(const std::string& own) const {
    write("own", own);
    return left_in_control_groups(dir_ / "groups", dir_ / "own");
  }

  fs::path dir_ = fs::temp_directory_path() / fmt::format("eav-control-groups-{}", getpid());
  static constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();
};

TEST_F(ControlGroups, OfNoneNothingIsTaken) {
  EXPECT_EQ(left("0::/"), kUnlimited);
  write("groups/memory.max", "max");
  write("groups/memory.current", "700");
  EXPECT_EQ(left("0::/"), kUnlimited);
}

TEST_F(ControlGroups, OfVersion2) {
  write("groups/memory.max", "1000");
  write("groups/memory.current", "700");
  write("groups/memory.stat", "anon 400\ninactive_file 250\nactive_file 50");
  EXPECT_EQ(left("0::/"), 550);
  EXPECT_EQ(left("0::/a/group/outside"), 550);
  write("groups/a/memory.max", "300");
  write("groups/a/memory.current", "100");
  EXPECT_EQ(left("0::/a/group"), 200);  // of the one above it
  write("groups/a/group/memory.max", "120");
  write("groups/a/group/memory.current", "130");
  EXPECT_EQ(left("0::/a/group"), 0);
}

TEST_F(ControlGroups, OfVersion1) {
  write("groups/memory/memory.limit_in_bytes", "9223372036854771712");
  write("groups/memory/memory.usage_in_bytes", "700");
  EXPECT_GT(left("5:memory:/"), int64_t{1} << 60);
  write("groups/memory/docker/1/memory.limit_in_bytes", "2000");
  write("groups/memory/docker/1/memory.usage_in_bytes", "1500");
  write("groups/memory/docker/1/memory.stat", "cache 5\ninactive_file 1\ntotal_inactive_file 400");
  EXPECT_EQ(left("12:cpu,cpuacct:/x\n11:hugetlb,memory:/docker/1\n0::/"), 900);
  write("groups/memory/memory.limit_in_bytes", "1000");  // in a container, which is its own root
  EXPECT_EQ(left("11:memory:/docker/2"), 300);
}

}  // namespace
}  // namespace eav
