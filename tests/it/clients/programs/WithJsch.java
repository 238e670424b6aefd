// What a provider's program with JSch does: java WithJsch PORT KEY KNOWN_HOSTS OPERATION WORDS...
//
// A failure is shown as such a program's log would: the exception, exit status 1.

import com.jcraft.jsch.ChannelSftp;
import com.jcraft.jsch.JSch;
import com.jcraft.jsch.Session;
import com.jcraft.jsch.SftpATTRS;
import java.io.File;

public class WithJsch {
    public static void main(String[] words) {
        if (words[0].equals("--version")) {
            System.out.println(JSch.VERSION);
            return;
        }
        try {
            run(words);
        } catch (Exception error) {
            System.err.println(error);
            System.exit(1);
        }
    }

    static void run(String[] words) throws Exception {
        JSch jsch = new JSch();
        jsch.addIdentity(words[1]);
        jsch.setKnownHosts(words[2]);
        Session session = jsch.getSession("harbour-nightly", "127.0.0.1", Integer.parseInt(words[0]));
        // The host keys that it can read; which come first is the client's choice.
        session.setConfig("server_host_key", "ecdsa-sha2-nistp256,ssh-rsa");
        session.setConfig("PreferredAuthentications", "publickey");
        session.connect(30000);
        try {
            ChannelSftp sftp = (ChannelSftp) session.openChannel("sftp");
            sftp.connect(30000);
            sftp.setFilenameEncoding("UTF-8");
            operate(sftp, words);
            sftp.exit();
        } finally {
            session.disconnect();
        }
    }

    static void operate(ChannelSftp sftp, String[] words) throws Exception {
        String first = words[4];
        switch (words[3]) {
            case "put":
                sftp.put(first, glob(words[5]));
                break;
            case "put-many":
                for (int i = 5; i < words.length; i++) {
                    sftp.put(words[i], first + "/" + new File(words[i]).getName());
                }
                break;
            case "resume":
                sftp.put(first, glob(words[5]), ChannelSftp.RESUME);
                break;
            case "put-and-rename":
                sftp.put(first, words[5]);
                sftp.rename(words[5], words[6]);
                break;
            case "put-with-times": {
                sftp.put(first, words[5]);
                SftpATTRS attributes = sftp.stat(words[5]);
                int modified = (int) (new File(first).lastModified() / 1000);
                attributes.setACMODTIME(modified, modified);
                sftp.setStat(words[5], attributes);
                sftp.chmod(0640, words[5]);
                break;
            }
            case "list":
                for (Object entry : sftp.ls(first)) {
                    System.out.println(((ChannelSftp.LsEntry) entry).getLongname());
                }
                break;
            case "get":
                sftp.get(first, words[5]);
                break;
            default:
                throw new IllegalArgumentException(words[3]);
        }
    }

    // JSch takes * and ? in paths for patterns.
    static String glob(String path) {
        return path.replace("\\", "\\\\").replace("*", "\\*").replace("?", "\\?");
    }
}
