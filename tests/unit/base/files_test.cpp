#include "eav/files.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "eav/error.h"
#include "eav/human.h"

namespace eav {
namespace {

namespace fs = std::filesystem;

class Files : public testing::Test {
 protected:
  Files() {
    fs::remove_all(dir);
    fs::create_directories(dir / "elsewhere");
  }
  ~Files() override { fs::remove_all(dir); }

  std::set<std::string> names() const {
    std::set<std::string> found;
    for (const auto& entry : fs::directory_iterator(dir)) found.insert(entry.path().filename());
    return found;
  }
  static std::string text_of(const fs::path& path) {
    std::ifstream in(path);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  const fs::path dir = fs::temp_directory_path() / ("eav-files-" + std::to_string(getpid()));
};

TEST_F(Files, AppearWhenTheyAreComplete) {
  std::ofstream(dir / "a") << "older";
  {
    const auto part = Temporary::file(dir / "a");
    std::ofstream(part.path()) << "half";
    EXPECT_EQ(part.path().parent_path(), fs::canonical(dir));
    EXPECT_EQ(text_of(dir / "a"), "older");
  }
  EXPECT_EQ(names(), (std::set<std::string>{"a", "elsewhere"}));
  write_file(dir / "a", "new");
  EXPECT_EQ(text_of(dir / "a"), "new");
  EXPECT_EQ(names(), (std::set<std::string>{"a", "elsewhere"}));
}

TEST_F(Files, AreMadeWithTheUsersPermissions) {
  const auto mask = umask(0027);
  write_file(dir / "a", "text");
  umask(mask);
  EXPECT_EQ(fs::status(dir / "a").permissions(), fs::perms{0640});
}

TEST_F(Files, GoWhereALinkLeads) {
  fs::create_symlink("elsewhere/b", dir / "link");
  std::ofstream(dir / "elsewhere/b") << "older";
  write_file(dir / "link", "new");
  EXPECT_TRUE(fs::is_symlink(dir / "link"));
  EXPECT_EQ(text_of(dir / "elsewhere/b"), "new");
}

TEST_F(Files, LeaveWhatWasThereWhenTheyFail) {
  fs::create_directory(dir / "full");
  std::ofstream(dir / "full/c") << "kept";
  EXPECT_THROW(write_file(dir / "full", "text"), Error);  // a folder that is not empty
  EXPECT_THROW(write_file(dir / "none/a", "text"), Error);
  EXPECT_THROW(check_takes_files(dir / "none", dir / "none/a"), Error);
  EXPECT_THROW(check_takes_files("/proc", "/proc/a"), Error);
  EXPECT_NO_THROW(check_takes_files(dir, dir / "a"));
  EXPECT_EQ(names(), (std::set<std::string>{"elsewhere", "full"}));
  EXPECT_EQ(text_of(dir / "full/c"), "kept");
}

TEST(HumanSize, NamesItsUnit) {
  EXPECT_EQ(human_size(0), "0 bytes");
  EXPECT_EQ(human_size(31'400), "31 kB");
  EXPECT_EQ(human_size(3'440'000), "3.4 MB");
  EXPECT_EQ(human_size(138'000'000'000), "138.0 GB");
}

TEST_F(Files, ReplaceNothingThatCameMeanwhile) {
  const auto part = prepare_file(dir / "a", "ours");
  std::ofstream(dir / "a") << "theirs";
  EXPECT_THROW(part.finish(Existing::refuse), Error);
  EXPECT_EQ(text_of(dir / "a"), "theirs");
  part.finish(Existing::replace);
  EXPECT_EQ(text_of(dir / "a"), "ours");
}

TEST_F(Files, MoveIntoAFolderThatIsThere) {
  const auto fill = [&] {
    auto part = Temporary::folder(dir / "elsewhere", dir / "elsewhere",
                                  [](const std::string& name) { return name.starts_with("ours"); });
    std::ofstream(part.path() / "ours-1") << "new";
    return part;
  };
  std::ofstream(dir / "elsewhere/ours-2") << "old";
  std::ofstream(dir / "elsewhere/other") << "kept";
  EXPECT_THROW(fill().finish(Existing::refuse), Error);
  EXPECT_TRUE(fs::exists(dir / "elsewhere/ours-2"));
  fill().finish();
  EXPECT_EQ(text_of(dir / "elsewhere/ours-1"), "new");
  EXPECT_EQ(text_of(dir / "elsewhere/other"), "kept");
  EXPECT_EQ(std::distance(fs::directory_iterator(dir / "elsewhere"), {}), 2);
}

TEST_F(Files, WhatAnEndedProcessLeftIsRemoved) {
  std::ofstream(dir / ".eav-00000001.part") << "left over";
  fs::create_directory(dir / ".eav-00000002.part");
  std::ofstream(dir / ".eav-00000002.part/a") << "left over";
  std::ofstream(dir / ".other.part") << "kept";
  const auto at_work = Temporary::file(dir / "a");
  remove_left_over(dir);
  EXPECT_EQ(names(), (std::set<std::string>{".other.part", "elsewhere", at_work.path().filename()}));
}

}  // namespace
}  // namespace eav
