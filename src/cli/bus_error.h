// What becomes of a process whose mapped file shrinks, or whose disk fails, while it reads there.
#pragma once

namespace eav {

// From now on such a process says so in one line, which names the file, and exits with 1.
void explain_bus_errors();

}  // namespace eav
