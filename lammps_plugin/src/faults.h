// What an error of libtorch says, without its stacks.
#pragma once

#include <string>

namespace janus {

// One line: that of the operation which failed, not that a TorchScript interpreter ran it.
std::string reason_of(const std::string &what);

// Whether an allocator, of a GPU or of the CPU, has refused. TorchScript leaves nothing of the error but its text.
bool is_out_of_memory(const std::string &what);

}  // namespace janus
