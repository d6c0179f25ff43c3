// The header, included from C++ with all warnings as errors, and used.
#include <corella.h>

int main() {
    corella_scheduler scheduler = nullptr;
    if (corella_scheduler_new(nullptr, &scheduler) != CORELLA_OK) {
        return 1;
    }
    corella_request request = nullptr;
    if (corella_sleep(scheduler, 1000, &request) != CORELLA_OK || corella_finish(request, nullptr) != CORELLA_OK) {
        return 2;
    }
    return corella_scheduler_free(scheduler) == CORELLA_OK ? 0 : 3;
}
