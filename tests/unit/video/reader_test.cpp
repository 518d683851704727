// What VideoReader refuses: files that make FFmpeg open others, and what is no regular file.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "eav/error.h"
#include "eav/video.h"

namespace eav {
namespace {

namespace fs = std::filesystem;

class Reader : public testing::Test {
 protected:
  void SetUp() override {
    dir = fs::temp_directory_path() / ("eav-reader-" + std::to_string(getpid()));
    fs::create_directories(dir);
    write_picture(dir / "other.png", at::full({16, 16, 3}, 200, at::kByte));
  }
  void TearDown() override { fs::remove_all(dir); }

  // The message of the error that reading gives; "" where it works.
  static std::string refusal(const fs::path& file) {
    try {
      read_frames(file);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }

  fs::path dir;
};

TEST_F(Reader, OpensNoOtherFile) {
  const auto other = (dir / "other.png").string();
  const auto list = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n" + other + "\n#EXT-X-ENDLIST\n";
  const std::pair<const char*, std::string> texts[] = {
      {"concat.png", "ffconcat version 1.0\nfile '" + other + "'\n"},
      {"concat.mp4", "ffconcat version 1.0\nfile 'other.png'\n"},
      {"list.png", list},
      {"list.m3u8", list},
      {"list.mp4", list},
      {"drawing.png", R"(<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="16" height="16"></svg>)"},
      {"drawing.svg", R"(<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16"></svg>)"},
      {"manifest.mp4", R"(<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"></MPD>)"},
      {"session.png", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5000 RTP/AVP 96\n"},
  };
  for (const auto& [name, text] : texts) {
    std::ofstream(dir / name) << text;
    const auto line = refusal(dir / name);
    EXPECT_NE(line.find("'" + (dir / name).string() + "' is no picture or video"), std::string::npos) << name << line;
    EXPECT_EQ(line.find('\n'), std::string::npos);
  }
}

TEST_F(Reader, TakesAPathAsItIs) {
  const auto before = fs::current_path();
  fs::current_path(dir);
  fs::copy("other.png", "frame_001.png");
  for (const auto* name : {"concat:other.png", "frame_%03d.png", "*.png", "http://127.0.0.1:9/a.png", "pipe:0",
                           "data:image/png;base64,AA", "subfile,,start,0,end,0,,:other.png", "file:other.png"})
    EXPECT_NE(refusal(name).find("there is no such file"), std::string::npos) << name;
  // Names that look so are names.
  for (const auto* name : {"frame_%03d.png", "concat:a", "12:30.mp4", "[a]*?{b}.png", "no suffix"}) {
    fs::copy("other.png", name, fs::copy_options::overwrite_existing);
    EXPECT_EQ(refusal(name), "") << name;
  }
  fs::current_path(before);
}

TEST_F(Reader, WaitsForNoPipe) {
  const auto pipe = dir / "pipe.png";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  for (const auto& file : {pipe, fs::path("/dev/zero")})
    EXPECT_NE(refusal(file).find("'" + file.string() + "' is no regular file"), std::string::npos);
  EXPECT_NE(refusal(dir).find("it is a folder"), std::string::npos);
}

TEST_F(Reader, RefusesHugeFramesByTheirHeader) {
  std::ofstream(dir / "huge.ppm") << "P6 20000 20000 255\n";
  EXPECT_NE(refusal(dir / "huge.ppm").find("2^28 pixels"), std::string::npos);
  std::ofstream(dir / "huge.y4m") << "YUV4MPEG2 W20000 H20000 F25:1 Ip C420jpeg\nFRAME\n";
  EXPECT_NE(refusal(dir / "huge.y4m").find("2^28 pixels"), std::string::npos);
}

TEST_F(Reader, ReadsWhatPeopleHave) {
  for (const auto* arguments :
       {"a.jpg", "a.bmp", "a.tiff", "a.webp", "a.ppm", "a.pgm", "a.gif", "-plays 0 a.apng",
        "-c:v libx264 -pix_fmt yuv420p a.mp4", "-c:v mpeg4 a.avi", "-c:v ffv1 a.mkv", "-c:v libvpx-vp9 a.webm",
        "-c:v prores a.mov", "-c:v mpeg2video a.ts", "-pix_fmt yuv420p a.y4m"}) {
    const std::string text = arguments;
    const auto begin = text.rfind("a.");
    const auto file = dir / text.substr(begin);
    const auto command = "ffmpeg -v error -nostdin -y -f lavfi -i testsrc=s=64x48:d=0.04 -strict -2 " +
                         text.substr(0, begin) + " '" + file.string() + "'";
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
    EXPECT_EQ(refusal(file), "") << arguments;
    EXPECT_EQ(read_frames(file).sizes(), (std::vector<int64_t>{1, 48, 64, 3})) << arguments;
  }
  // A photo of which the first megabyte holds no end, and whose name tells nothing.
  const auto photo = dir / "photo";
  ASSERT_EQ(
      std::system(("ffmpeg -v error -nostdin -y -f lavfi -i nullsrc=s=2000x1500:d=0.04,geq='random(1)*255:128:128' "
                   "-q:v 1 -f image2 -update 1 -c:v mjpeg '" +
                   photo.string() + "'")
                      .c_str()),
      0);
  ASSERT_GT(fs::file_size(photo), 2 << 20);
  EXPECT_EQ(read_frames(photo).sizes(), (std::vector<int64_t>{1, 1500, 2000, 3}));
}

}  // namespace
}  // namespace eav
