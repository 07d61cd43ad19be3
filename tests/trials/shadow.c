/* Loaded in front of the C library: after every fsync and fdatasync of a file directly in the folder SHADOW_OF,
 * a copy of its content is put into the folder SHADOW_TO; after one of the folder itself, what was deleted from
 * it is deleted there too. So SHADOW_TO holds what a disk that keeps nothing but what was synced would hold
 * after a power cut at this moment. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char buffer[1 << 20];

static int copy(int from, int to)
{
    /* By the descriptor that is there: closing another one of the same file would drop SQLite's locks on it. */
    off_t place = 0;
    ssize_t got;
    while ((got = pread(from, buffer, sizeof buffer, place)) > 0) {
        ssize_t done = 0;
        while (done < got) {
            ssize_t put = write(to, buffer + done, (size_t)(got - done));
            if (put < 0)
                return -1;
            done += put;
        }
        place += got;
    }
    return got < 0 ? -1 : 0;
}

static int drop_deleted(const char *of, const char *into)
{
    char there[8300], copied[8300];
    struct dirent *entry;
    DIR *folder = opendir(into);
    if (folder == NULL)
        return -1;
    while ((entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(there, sizeof there, "%s/%s", of, entry->d_name);
        snprintf(copied, sizeof copied, "%s/%s", into, entry->d_name);
        if (access(there, F_OK) != 0 && errno == ENOENT)
            unlink(copied);
    }
    return closedir(folder);
}

static int keep(int descriptor)
{
    const char *of = getenv("SHADOW_OF"), *into = getenv("SHADOW_TO");
    char link[64], path[4096], part[8300], whole[8300];
    if (of == NULL || into == NULL)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    size_t folder = strlen(of);
    if (length < 0)
        return 0;
    path[length] = '\0';
    if (strcmp(path, of) == 0)
        return drop_deleted(of, into);
    if (strncmp(path, of, folder) != 0 || path[folder] != '/' || strchr(path + folder + 1, '/') != NULL)
        return 0;
    snprintf(part, sizeof part, "%s/.part", into);
    snprintf(whole, sizeof whole, "%s/%s", into, path + folder + 1);
    int made = open(part, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (made < 0)
        return -1;
    int failed = copy(descriptor, made);
    if (close(made) != 0 || failed)
        return -1;
    return rename(part, whole);
}

static int synced(const char *name, int descriptor)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    int result = real(descriptor);
    if (result == 0 && keep(descriptor) != 0) {
        errno = EIO;
        return -1;
    }
    return result;
}

int fsync(int descriptor)
{
    return synced("fsync", descriptor);
}

int fdatasync(int descriptor)
{
    return synced("fdatasync", descriptor);
}
